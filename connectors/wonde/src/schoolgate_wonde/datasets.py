"""What is read from where: each dataset's resources, what nests in them, and which parser knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from schoolgate.v1 import kind_pb2 as k
from schoolgate_sdk import Dataset, KindSpec, Parser, Row, SchemaChanged
from schoolgate_wonde import fields
from schoolgate_wonde.parsers import groups, keys, people, records, timetable
from schoolgate_wonde.rows import RESOURCE, nested_in


@dataclass(frozen=True, slots=True)
class WondeDataset:
    """One dataset. ``nested`` names what is asked for by ``include`` and gives a row each, known by the ids
    of both; ``owner`` is then what the rows call the id of the one that it is nested in.

    ``counted`` is the resource's name in ``counts``. Nested data has no ``updated_at`` that is known to
    change with it, and is read in full every time.
    """

    name: str
    kind: k.Kind.ValueType
    namespace: str
    resources: tuple[str, ...]
    parser: Parser
    nested: str = ""
    owner: str = ""
    counted: str = ""

    @property
    def follows_changes(self) -> bool:
        """Whether ``updated_after`` tells what changed."""
        return not self.nested

    def entities(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        """Return what the school must have approved, as grants and errors name it."""
        found = dict.fromkeys(self.resources)
        for resource in self.resources:
            found |= dict.fromkeys(self.includes(resource, settings))
        return tuple(found)

    def includes(self, resource: str, settings: Mapping[str, str]) -> tuple[str, ...]:
        """Return what is asked for by ``include``."""
        return (self.nested,) if self.nested else fields.includes(resource, settings)

    def check_nested(self, resource: str, given: Sequence[Row]) -> None:
        """Return if what nests was sent in some of Wonde's rows, where it does; one that lacks it is the
        parser's to refuse.

        Raises:
            SchemaChanged: no row has what should be nested.
        """
        rows = [row for row in given if row]
        if self.nested and rows and not any(self.nested in row for row in rows):
            raise SchemaChanged(f"rows come without the {self.nested} that were asked for", entity=resource)

    def rows(self, resource: str, given: Row) -> Iterator[Row]:
        """Yield what the parser reads of one of Wonde's rows.

        What is nested in a form that cannot be read, or not at all, is one row, which the parser refuses:
        nobody knows then what is gone from it.
        """
        if not self.nested:
            yield {**given, RESOURCE: resource}
            return
        inner = nested_in(given, self.nested)
        for nested in [None] if inner is None else inner:
            yield {RESOURCE: resource, self.owner: given.get("id"), "nested": nested}

    def matches(self, row: Row, key: tuple[object, ...]) -> bool:
        """Say whether a row of :meth:`rows` is the one of a key; only nested ones can be another."""
        if not self.nested:
            return True
        nested = row["nested"]
        found = cast("Mapping[str, object]", nested).get("id") if isinstance(nested, dict) else None
        return isinstance(found, str) and found.strip() == key[-1]

    def place(self, key: tuple[object, ...]) -> tuple[str, str] | None:
        """Return resource and id under which Wonde is asked for a key; ``None`` for one of another form."""
        several = len(self.resources) > 1
        parts = key if several else (self.resources[0], *key)
        if len(parts) != (3 if self.nested else 2) or not all(isinstance(part, str) for part in parts):
            return None
        resource, number = str(parts[0]), str(parts[1])
        return (resource, number) if resource in self.resources else None

    def key(self, resource: str, number: str) -> tuple[str, ...]:
        """Return the key of what has an id in a resource."""
        return (resource, number) if len(self.resources) > 1 else (number,)

    def describe(self) -> Dataset:
        """Return the dataset as the server sees it, with the entities of the default settings."""
        kinds = (KindSpec(self.kind, self.namespace),)
        return Dataset(self.name, kinds, self.entities({}), self.parser, 1)


_GROUPS: Final = ("classes", "groups")

DATASETS: Final = (
    WondeDataset("subjects", k.KIND_SUBJECT, keys.SUBJECT, ("subjects",), groups.parse_subject),
    WondeDataset("rooms", k.KIND_ROOM, keys.ROOM, ("rooms",), timetable.parse_room),
    WondeDataset("periods", k.KIND_PERIOD, keys.PERIOD, ("periods",), timetable.parse_period),
    WondeDataset(
        "attendance_codes",
        k.KIND_ATTENDANCE_CODE,
        keys.ATTENDANCE_CODE,
        ("attendance-codes",),
        records.parse_attendance_code,
    ),
    WondeDataset(
        "students", k.KIND_STUDENT, keys.STUDENT, ("students",), people.parse_student, counted="students"
    ),
    WondeDataset("staff", k.KIND_STAFF, keys.STAFF, ("employees",), people.parse_employee),
    WondeDataset(
        "contacts", k.KIND_CONTACT, keys.CONTACT, ("contacts",), people.parse_contact, counted="contacts"
    ),
    WondeDataset(
        "student_contacts",
        k.KIND_STUDENT_CONTACT,
        keys.STUDENT_CONTACT,
        ("students",),
        people.parse_student_contact,
        nested="contacts",
        owner="student_id",
    ),
    WondeDataset("groups", k.KIND_GROUP, keys.GROUP, _GROUPS, groups.parse_group),
    WondeDataset(
        "group_memberships",
        k.KIND_GROUP_MEMBERSHIP,
        keys.MEMBERSHIP,
        _GROUPS,
        groups.parse_membership,
        nested="students",
        owner="group_id",
    ),
    WondeDataset(
        "staff_assignments",
        k.KIND_STAFF_ASSIGNMENT,
        keys.ASSIGNMENT,
        _GROUPS,
        groups.parse_assignment,
        nested="employees",
        owner="group_id",
    ),
    WondeDataset("lessons", k.KIND_TIMETABLE_ENTRY, keys.LESSON, ("lessons",), timetable.parse_lesson),
    WondeDataset(
        "attendance_marks",
        k.KIND_ATTENDANCE_MARK,
        keys.ATTENDANCE,
        (records.SESSION, records.LESSON),
        records.parse_mark,
    ),
    WondeDataset(
        "behaviour_events",
        k.KIND_BEHAVIOUR_EVENT,
        keys.BEHAVIOUR,
        ("behaviours", "achievements"),
        records.parse_behaviour,
    ),
)
"""What is referred to comes before what refers."""

BY_NAME: Final = {dataset.name: dataset for dataset in DATASETS}
