"""What a school's registration says where public sources do not: columns, and which ids agree with which.

The defaults of columns are names that public sources show in *other* entities (``locationID`` in
``CollectionTimetables``, say); that the entity has them too is inferred. Where nothing public shows a name,
the default is none, and the field is not collected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schoolgate_sdk import FieldSpec, Unsupported

_ENTITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)

COLUMN_SETTINGS: Final = (
    FieldSpec("column_room_id", "the column of Locations with a room's id", default="locationID"),
    FieldSpec("column_room_code", "the column of Locations with a room's code; empty: none is read"),
    FieldSpec("column_room_name", "the column of Locations with a room's name", default="locationName"),
    FieldSpec("column_subject_id", "the column of Subjects with a subject's id", default="subjectID"),
    FieldSpec("column_subject_code", "the column of Subjects with a subject's code; empty: none is read"),
    FieldSpec(
        "column_subject_name",
        "the column of Subjects with a subject's name",
        default="subjectName",
    ),
    FieldSpec(
        "column_behaviour_type_id", "the column of BehaviourEvents with a type's id", default="eventId"
    ),
    FieldSpec(
        "column_behaviour_type_name", "the column of BehaviourEvents with a type's name; empty: none is read"
    ),
)
"""Columns of entities whose field lists are not public."""

AGREEMENT_SETTINGS: Final = (
    FieldSpec(
        "employee_id_is_staff_id",
        '"yes" where employeeID of CollectionTimetables equals staffId; else teachers stay unresolved',
        default="no",
    ),
    FieldSpec(
        "owner_id_is_staff_id",
        '"yes" where ownerId of behaviour events equals staffId; else who recorded them stays unresolved',
        default="no",
    ),
    FieldSpec(
        "class_id_is_collection_id",
        '"yes" where classId of behaviour events equals collectionID; else their groups stay unresolved',
        default="no",
    ),
)
"""Number spaces that may be the same; a school has to say so, for a wrong join would be somebody else."""

WRITE_SETTINGS: Final = (
    FieldSpec(
        "time_zone",
        "the time zone of the clock by which Bromcom shows the times of behaviour events",
        default="Europe/London",
        scope=False,
    ),
    FieldSpec(
        "event_date_sent_in",
        '"utc" where Bromcom takes the eventDate of a write as its Z says; "local" where it drops the Z',
        default="utc",
        scope=False,
    ),
)
"""What writing a behaviour event rests on that nothing public says."""

_COLUMN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)


def check_configured(values: Mapping[str, str]) -> None:
    """Return where the settings of this module are well formed.

    Raises:
        Unsupported: one is not; the message names it.
    """
    for spec in COLUMN_SETTINGS:
        value = values[spec.name]
        if not _COLUMN.fullmatch(value) and (value or spec.name.endswith("_id")):
            raise Unsupported(
                f"setting {spec.name} must be the name of a column: letters, digits and underscores"
            )
    for spec in AGREEMENT_SETTINGS:
        if values[spec.name] not in {"yes", "no"}:
            raise Unsupported(f'setting {spec.name} must be "yes" or "no"')
    if values["event_date_sent_in"] not in {"utc", "local"}:
        raise Unsupported('setting event_date_sent_in must be "utc" or "local"')
    try:
        ZoneInfo(values["time_zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unsupported("setting time_zone must be a time zone, such as Europe/London") from None


def entity_name(values: Mapping[str, str], name: str) -> str:
    """Return the name of an entity; raises ``Unsupported``."""
    if not _ENTITY.fullmatch(values[name]):
        raise Unsupported(f"setting {name} must be the name of an entity: letters, digits and underscores")
    return values[name]
