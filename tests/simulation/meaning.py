"""What a row means, worked out anew from the scripted dialect and without the engine's code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.simulation.world import Row, key_parts
from tests.support.scripted import GROUPS, MARKS, MEMBERSHIPS, STUDENTS

Key: TypeAlias = tuple[str, str]
"""Dataset and the key's parts as JSON, which tells numbers from texts."""

KIND_OF = {STUDENTS: "student", GROUPS: "group", MEMBERSHIPS: "group_membership", MARKS: "attendance_mark"}
PROFILES: Mapping[str, tuple[str, ...]] = {
    "core": ("forename",),
    "wide": ("forename", "ethnicity_code"),
    "narrow": (),
}
"""Which optional fields of a pupil each profile keeps."""

_MEANINGS = {
    "/": "PRESENT",
    "\\": "PRESENT",
    "L": "PRESENT",
    "I": "AUTHORISED_ABSENCE",
    "O": "UNAUTHORISED_ABSENCE",
    "N": "UNAUTHORISED_ABSENCE",
}
Days: TypeAlias = tuple[str, str]
"""The first of some days, and the one after the last."""

YEAR: Days = ("2026-09-01", "2027-09-01")


def key_of(dataset: str, parts: Sequence[Any]) -> Key:
    return dataset, json.dumps(list(parts), ensure_ascii=False)


@dataclass(frozen=True)
class Reading:
    """How the present parser and profile read rows."""

    parser_version: int
    profile: str


@dataclass
class Meaning:
    """A row's meaning: a record's body and keys, or the reason why there is none.

    ``refs`` names the key that a field refers to; ``person`` is a further key of the record, or of a
    membership's student.
    """

    key: Key | None = None
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    refs: dict[str, Key] = field(default_factory=dict[str, Key])
    person: Any = None
    reason: str = ""

    @property
    def is_record(self) -> bool:
        return not self.reason


def meaning_of(dataset: str, row: Row, reading: Reading, days: Days = YEAR) -> Meaning:
    """Return what ``row`` means where rows of ``days`` were asked for."""
    parts = key_parts(dataset, row)
    whole = all(type(part) in {int, str} and part != "" for part in parts)
    if dataset == STUDENTS:
        if not isinstance(row.get("surname"), str):
            return Meaning(reason="PARSER_ERROR")
        if row.get("id") is None and "id" in row and not row.get("broken"):
            return Meaning(reason="KEY_MISSING")
    if not whole:
        return Meaning(reason="PARSER_ERROR")
    if dataset == GROUPS and "name" not in row:
        return Meaning(reason="PARSER_ERROR")
    key = key_of(dataset, parts)
    if row.get("broken"):
        return Meaning(key, reason="VALUE_INVALID")
    if dataset == MARKS and not days[0] <= row["date"] < days[1]:
        return Meaning(key, reason="OUT_OF_SCOPE")
    return _record(dataset, row, key, reading)


def _record(dataset: str, row: Row, key: Key, reading: Reading) -> Meaning:
    match dataset:
        case "students":
            surname = row["surname"] if reading.parser_version % 2 else row["surname"].upper()
            body = {"surname": surname}
            body |= {name: row[name] for name in PROFILES[reading.profile] if name in row}
            return Meaning(key, body, person=row.get("person"))
        case "groups":
            return Meaning(key, {"name": row["name"]})
        case "memberships":
            body = {"valid_from": row["from"]} | ({"valid_to": row["to"]} if row["to"] else {})
            return Meaning(key, body, {"group_id": key_of(GROUPS, [row["group"]])}, row["person"])
        case _:
            body = {"date": row["date"], "code": row["code"], "period_name": "AM"}
            if row["code"] in _MEANINGS:
                body["meaning"] = f"ATTENDANCE_MEANING_{_MEANINGS[row['code']]}"
            return Meaning(key, body, {"student_id": key_of(STUDENTS, [row["student"]])})
