"""Data profiles: which fields of a school's data may be kept. What no profile names is dropped unstored.

Minimisation is the default (UK GDPR art. 5(1)(c)): special category data and free text are kept only where a
school's registration names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME, KindInfo

Dropped: TypeAlias = Mapping[Kind.ValueType, tuple[str, ...]]
"""Kind → fields that must not be kept."""

CORE_PROFILE: tuple[str, ...] = (
    "academic_year.*",
    "admission.*",
    "attendance_code.*",
    "attendance_mark.code",
    "attendance_mark.minutes_late",
    "attendance_mark.period_name",
    "attendance_mark.session",
    "enrolment.*",
    "group.*",
    "group_membership.*",
    "local_code.*",
    "period.*",
    "room.*",
    "school.*",
    "staff.email",
    "staff.forename",
    "staff.job_title",
    "staff.staff_code",
    "staff.surname",
    "staff.title",
    "staff_assignment.*",
    "student.admission_number",
    "student.date_of_birth",
    "student.forename",
    "student.middle_names",
    "student.national_curriculum_year",
    "student.preferred_forename",
    "student.preferred_surname",
    "student.surname",
    "student.upn",
    "student.year_group_code",
    "subject.*",
    "timetable_entry.*",
)
"""What is kept of a school that names no profile: who is who, in which group, present or not."""


def structural_fields(info: KindInfo) -> frozenset[str]:
    """Return the fields that are always kept: references and dates, without which a record means nothing."""
    names = {*info.references, "valid_from", "valid_to", info.on}
    return frozenset(field.name for field in info.message.DESCRIPTOR.fields if field.name in names)


def expand(entry: str) -> set[tuple[Kind.ValueType, str]]:
    """Return the fields that one profile entry ("kind.field" or "kind.*") names.

    Raises:
        ValueError: the entry names no kind or no field of it.
    """
    kind_name, _, field = entry.partition(".")
    info = KINDS_BY_NAME.get(kind_name)
    if info is None:
        raise ValueError(f"{entry!r} names no kind; there are {', '.join(sorted(KINDS_BY_NAME))}")
    fields = [descriptor.name for descriptor in info.message.DESCRIPTOR.fields]
    if field == "*":
        return {(info.kind, name) for name in fields}
    if field not in fields:
        raise ValueError(f"{entry!r} names no field of {kind_name}; there are {', '.join(fields)}")
    return {(info.kind, field)}


def dropped_fields(profile: Iterable[str]) -> Dropped:
    """Return, for every kind, the fields that a profile leaves out.

    A code and its canonical meaning are kept or dropped together.

    Raises:
        ValueError: an entry names no kind or field.
    """
    kept = {pair for entry in profile for pair in expand(entry)}
    dropped: dict[Kind.ValueType, tuple[str, ...]] = {}
    for kind, info in KINDS.items():
        allowed = {field for owner, field in kept if owner == kind} | structural_fields(info)
        allowed |= {info.coded[code] for code in info.coded if code in allowed}
        allowed -= {info.coded[code] for code in info.coded if code not in allowed}
        dropped[kind] = tuple(f.name for f in info.message.DESCRIPTOR.fields if f.name not in allowed)
    return dropped
