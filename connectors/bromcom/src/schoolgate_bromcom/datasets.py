"""The table of datasets: which entity, which parser, and how rows are found again by their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate_bromcom import filters, parsers
from schoolgate_bromcom.filters import Column, Value
from schoolgate_bromcom.parsers import keys
from schoolgate_sdk import Dataset, KindSpec, Parser, Row, SchemaChanged, SourceKey, Unsupported


@dataclass(frozen=True, slots=True)
class BromcomDataset:
    """One dataset. ``entity`` is its usual name; ``required`` columns must be on every page, in any case.

    ``configured`` names the settings that name further such columns. ``found_by`` names the column for each
    leading part of a key, and none where the entity is small enough to be read as a whole; ``window`` is the
    column that a scope's dates bound, and ``may_lack_date`` says that rows without one are read all the same,
    so that the server decides about them and says so; ``only`` leaves out rows that the dataset has nothing
    of. ``other_parsers`` are versions beside the one that is used unless a school is held at or promoted to
    another.
    """

    name: str
    entity: str
    kinds: tuple[KindSpec, ...]
    parser: Parser
    parser_version: int
    required: tuple[str, ...]
    found_by: tuple[Column, ...]
    window: Column | None = None
    may_lack_date: bool = False
    configured: tuple[str, ...] = ()
    only: str = filters.EVERYTHING
    other_parsers: Mapping[int, Parser] = field(default_factory=dict[int, Parser])

    def describe(self) -> Dataset:
        """Return what the server is told."""
        return Dataset(
            name=self.name,
            kinds=self.kinds,
            entities=(self.entity,),
            parser=self.parser,
            parser_version=self.parser_version,
            windowed=self.window is not None,
            other_parsers=self.other_parsers,
        )

    def check_columns(self, rows: Sequence[Row], settings: Mapping[str, str], entity: str) -> None:
        """Return if each column that a school with ``settings`` must have is in some of ``rows``.

        ``rows`` are the first that came: they tell what the entity has. A row that lacks one which others
        have is the parser's to refuse; over SOAP rows lack what is null in them. As a rule the first row has
        them all.

        Raises:
            SchemaChanged: no row has one; the message names it.
        """
        wanted = (*self.required, *(settings[name] for name in self.configured))
        missing = {name.lower(): name for name in wanted}
        for row in rows:
            for column in row:
                missing.pop(column.lower(), None)
            if not missing:
                return
        raise SchemaChanged(f"rows have no column {', '.join(missing.values())}", entity=entity)

    def predicate(self, date_from: date | None, date_to: date | None) -> str:
        """Return the filter for a read within the dates (half-open), which only a windowed dataset heeds."""
        if self.window is None:
            return self.only
        bounded = filters.between_or_never if self.may_lack_date else filters.between
        return bounded(self.window, date_from, date_to)

    def predicate_for(self, keys: Sequence[SourceKey]) -> str:
        """Return a filter whose rows include those with ``keys``, and usually others.

        Raises:
            Unsupported: a key is not one of this dataset's.
        """
        namespaces = {spec.namespace for spec in self.kinds}
        columns: list[set[Value]] = [set() for _ in self.found_by]
        for key in keys:
            if key.namespace not in namespaces:
                raise Unsupported(f"{self.name} has no keys in {key.namespace}", entity=self.entity)
            for found, part in zip(columns, key.parts, strict=False):
                found.add(self._typed(part))
        return (
            " AND ".join(
                filters.one_of(column, sorted(found, key=str))
                for column, found in zip(self.found_by, columns, strict=True)
            )
            or filters.EVERYTHING
        )

    def could_have(self, key: SourceKey) -> bool:
        """Whether ``key`` has the form of this dataset's keys; nothing is found under one that has not."""
        if len(key.parts) < len(self.found_by):
            return False
        try:
            for part in key.parts[: len(self.found_by)]:
                self._typed(part)
        except Unsupported:
            return False
        return True

    def _typed(self, part: int | str) -> Value:
        """Return a part of a key as a filter may hold it: an integer, or a date."""
        if isinstance(part, int):
            return part
        try:
            return date.fromisoformat(part)
        except ValueError:
            raise Unsupported(f"a key of {self.name} is malformed", entity=self.entity) from None


DATASETS: Final = (
    BromcomDataset(
        name="students",
        entity="StudentFlatView",
        kinds=(
            KindSpec(kinds.KIND_STUDENT, keys.STUDENT),
            KindSpec(kinds.KIND_ENROLMENT, keys.ENROLMENT),
            KindSpec(kinds.KIND_ADMISSION, keys.ADMISSION),
        ),
        parser=parsers.parse_student_2,
        parser_version=2,
        other_parsers={1: parsers.parse_student},
        required=("studentId",),
        found_by=(Column.STUDENT_ID,),
    ),
    BromcomDataset(
        name="contacts",
        entity="StudentFlatView",
        kinds=(
            KindSpec(kinds.KIND_CONTACT, keys.CONTACT),
            KindSpec(kinds.KIND_STUDENT_CONTACT, keys.STUDENT_CONTACT),
        ),
        parser=parsers.parse_contacts,
        parser_version=1,
        required=("studentId",),
        found_by=(Column.STUDENT_ID,),
        only=filters.any_filled([column for column in Column if column.name.startswith("CONTACT_")]),
    ),
    BromcomDataset(
        name="staff",
        entity="Staff",
        kinds=(KindSpec(kinds.KIND_STAFF, keys.STAFF),),
        parser=parsers.parse_staff,
        parser_version=1,
        required=("staffId",),
        found_by=(Column.STAFF_ID,),
    ),
    BromcomDataset(
        name="subjects",
        entity="Subjects",
        kinds=(KindSpec(kinds.KIND_SUBJECT, keys.SUBJECT),),
        parser=parsers.parse_subject,
        parser_version=1,
        required=(),
        configured=("column_subject_id",),
        found_by=(),
    ),
    BromcomDataset(
        name="rooms",
        entity="Locations",
        kinds=(KindSpec(kinds.KIND_ROOM, keys.LOCATION),),
        parser=parsers.parse_room,
        parser_version=1,
        required=(),
        configured=("column_room_id",),
        found_by=(),
    ),
    BromcomDataset(
        name="periods",
        entity="PeriodStructures",
        kinds=(KindSpec(kinds.KIND_PERIOD, keys.CALENDAR_MODEL),),
        parser=parsers.parse_period,
        parser_version=1,
        required=("calendarModelID",),
        found_by=(Column.CALENDAR_MODEL_ID,),
    ),
    BromcomDataset(
        name="groups",
        entity="Collections",
        kinds=(KindSpec(kinds.KIND_GROUP, keys.COLLECTION),),
        parser=parsers.parse_group,
        parser_version=1,
        required=("collectionID",),
        found_by=(Column.COLLECTION_ID,),
    ),
    BromcomDataset(
        name="group_memberships",
        entity="CollectionAssociates",
        kinds=(KindSpec(kinds.KIND_GROUP_MEMBERSHIP, keys.COLLECTION_ASSOCIATE),),
        parser=parsers.parse_group_membership,
        parser_version=1,
        required=("collectionID", "personID"),
        found_by=(Column.COLLECTION_ID, Column.PERSON_ID),
    ),
    BromcomDataset(
        name="staff_assignments",
        entity="CollectionExecutives",
        kinds=(KindSpec(kinds.KIND_STAFF_ASSIGNMENT, keys.COLLECTION_EXECUTIVE),),
        parser=parsers.parse_staff_assignment,
        parser_version=1,
        required=("collectionID", "staffID"),
        found_by=(Column.COLLECTION_ID, Column.EXECUTIVE_STAFF_ID),
    ),
    BromcomDataset(
        name="timetable_entries",
        entity="CollectionTimetables",
        kinds=(KindSpec(kinds.KIND_TIMETABLE_ENTRY, keys.COLLECTION_TIMETABLE),),
        parser=parsers.parse_timetable_entry,
        parser_version=1,
        required=("collectionID", "calendarModelID"),
        found_by=(Column.COLLECTION_ID, Column.CALENDAR_MODEL_ID),
    ),
    BromcomDataset(
        name="attendance_marks",
        entity="BasicAttendance",
        kinds=(KindSpec(kinds.KIND_ATTENDANCE_MARK, keys.ATTENDANCE, windowed_by="date"),),
        parser=parsers.parse_attendance_mark,
        # Bromcom's notice of August 2024 names Attendances, AttendanceSessions and AttendancesRaw; that the
        # mark of BasicAttendance takes subcodes too is inferred. So schools are promoted one by one, once
        # CompareParsers has shown what their own rows say.
        parser_version=1,
        other_parsers={2: parsers.parse_attendance_mark_2},
        required=("studentId", "calendarStartDate", "periodDisplayName"),
        found_by=(Column.STUDENT_ID, Column.CALENDAR_START_DATE),
        window=Column.CALENDAR_START_DATE,
    ),
    BromcomDataset(
        name="behaviour_types",
        entity="BehaviourEvents",
        kinds=(KindSpec(kinds.KIND_LOCAL_CODE, keys.BEHAVIOUR_EVENT),),
        parser=parsers.parse_behaviour_type,
        parser_version=1,
        required=(),
        configured=("column_behaviour_type_id",),
        found_by=(),
    ),
    BromcomDataset(
        name="behaviour_events",
        entity="BehaviourEventRecords",
        kinds=(KindSpec(kinds.KIND_BEHAVIOUR_EVENT, keys.BEHAVIOUR_EVENT_RECORD, windowed_by="occurred_at"),),
        parser=parsers.parse_behaviour_event,
        parser_version=1,
        required=("eventRecordId",),
        found_by=(Column.EVENT_RECORD_ID,),
        window=Column.EVENT_DATE,
        may_lack_date=True,
    ),
    BromcomDataset(
        name="assessment_results",
        entity="AssociationAssessmentResultsRaw",
        kinds=(KindSpec(kinds.KIND_ASSESSMENT_RESULT, keys.ASSESSMENT_RESULT, windowed_by="entered_on"),),
        parser=parsers.parse_assessment_result,
        parser_version=1,
        required=("studentId", "assessmentTypeName", "enteredDate"),
        found_by=(Column.STUDENT_ID,),
        window=Column.ENTERED_DATE,
        may_lack_date=True,
    ),
)
"""In the order in which they are to be read: what is referred to comes before what refers."""


def dataset_of_entity(entity: str) -> BromcomDataset:
    """Return the first dataset that is read from ``entity``, its usual name; by it the entity is renamed."""
    return next(dataset for dataset in DATASETS if dataset.entity == entity)
