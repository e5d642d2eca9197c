"""Where a row holds what: dotted paths into nested data, which a school's settings may correct.

Public sources name few of Wonde's fields. What they name is read where they say; for the rest there is one
setting per resource, ``fields_students`` and so on, whose defaults are inferred from the names of the public
write forms and from habit. ``upn=education_details.data.upn, email=`` reads a UPN there, and no e-mail
address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from schoolgate_sdk import FieldSpec, Unsupported

_EMAIL: Final = "contact_details.data.emails.email"
_NAMED: Final = {"code": "code", "name": "name"}
_STAFFED: Final = {"student": "student_id", "type": "type", "points": "points", "comment": "comment"}
_UNNAMED_OF_STUDENTS: Final = (
    *("exam_number", "ethnicity_code", "sen_provision_code", "free_school_meals_ever_6"),
    *("english_additional_language", "in_care", "gifted_and_talented", "pupil_premium"),
)
_UNNAMED_OF_EMPLOYEES: Final = ("staff_code", "job_title")
"""Nothing public suggests a path for these: they are not read until a school's settings name one."""

DEFAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "students": {
        "upn": "education_details.data.upn",
        "uln": "education_details.data.uln",
        "admission_number": "education_details.data.admission_number",
        "national_curriculum_year": "education_details.data.current_nc_year",
        "email": _EMAIL,
        "year_group_code": "year.data.code",
        **dict.fromkeys(_UNNAMED_OF_STUDENTS, ""),
    },
    "employees": {
        "title": "title",
        "forename": "forename",
        "middle_names": "middle_names",
        "surname": "surname",
        "email": _EMAIL,
        **dict.fromkeys(_UNNAMED_OF_EMPLOYEES, ""),
    },
    "contacts": {
        "title": "title",
        "forename": "forename",
        "surname": "surname",
        "email": _EMAIL,
        "telephone": "contact_details.data.phones.phone",
    },
    "subjects": _NAMED,
    "rooms": _NAMED,
    "periods": {
        "name": "name",
        "weekday": "day_number",
        "start_time": "start_time",
        "end_time": "end_time",
    },
    "attendance-codes": {"code": "code", "description": "description"},
    "classes": {"name": "name", "description": "description", "subject": "subject_id"},
    "groups": {"name": "name", "description": "description", "type": "type"},
    "lessons": {
        "date": "start_at",
        "class": "class_id",
        "period": "period_id",
        "employee": "employee_id",
        "room": "room_id",
    },
    "attendance/session": {
        "student": "student_id",
        "date": "date",
        "session": "session",
        "code": "attendance_code.data.code",
        "comment": "comment",
        "minutes_late": "minutes_late",
    },
    "attendance/lesson": {
        "student": "student_id",
        "date": "lesson.data.start_at",
        "period_name": "lesson.data.period.data.name",
        "code": "attendance_code.data.code",
        "comment": "comment",
        "minutes_late": "minutes_late",
    },
    "behaviours": {**_STAFFED, "date": "date", "employee": "employee_id"},
    "achievements": {**_STAFFED, "date": "date", "employee": "employee_id"},
    "deletions": {"id": "id", "type": "type"},
}
"""By resource and name. An empty path is one that is not read."""

_PATH: Final = re.compile(r"(?:[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){0,7})?", re.ASCII)
_LONGEST: Final = 2_000


def setting_of(resource: str) -> str:
    """Return the name of the setting for a resource's fields."""
    return "fields_" + resource.replace("/", "_").replace("-", "_")


FIELD_SETTINGS: Final = tuple(
    FieldSpec(
        setting_of(resource),
        f"where {resource} hold their fields, as far as that differs from the defaults: name=path, …; an "
        "empty path is not read",
    )
    for resource in DEFAULTS
)


def paths(resource: str, settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the path of each field of a resource.

    Raises:
        Unsupported: the setting is malformed; the message names it.
    """
    return _paths(resource, settings.get(setting_of(resource), ""))


@lru_cache(maxsize=1024)
def _paths(resource: str, given: str) -> Mapping[str, str]:
    found = dict(DEFAULTS[resource])
    if len(given) > _LONGEST:
        raise Unsupported(f"setting {setting_of(resource)} is too long")
    for pair in filter(None, map(str.strip, given.split(","))):
        name, sign, path = (part.strip() for part in pair.partition("="))
        if not sign or name not in found or not _PATH.fullmatch(path):
            raise Unsupported(
                f"setting {setting_of(resource)} must be name=path, … with names out of "
                f"{', '.join(DEFAULTS[resource])}"
            )
        found[name] = path
    return MappingProxyType(found)


@lru_cache(maxsize=1024)
def _includes(paths_given: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for path in paths_given:
        nested = path.split(".data.")[:-1]
        for length in range(1, len(nested) + 1):
            found[".".join(nested[:length])] = None
    return tuple(found)


def includes(resource: str, settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return what has to be asked for by ``include`` for the fields to be there: whatever nests in ``data``.

    Raises:
        Unsupported: as :func:`paths`.
    """
    return _includes(tuple(paths(resource, settings).values()))
