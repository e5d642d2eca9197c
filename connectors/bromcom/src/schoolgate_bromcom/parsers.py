"""Parsers of Bromcom's entities: pure functions from one row to canonical messages.

Every change of what a parser yields raises its version in ``datasets``. Canonical meanings and references
are left to the server, as the SDK asks. Columns are those of the public field lists; others are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.attendance_pb2 import (
    ATTENDANCE_SESSION_AM,
    ATTENDANCE_SESSION_LESSON,
    ATTENDANCE_SESSION_PM,
    AttendanceMark,
    AttendanceSession,
)
from schoolgate.v1.groups_pb2 import Group, GroupMembership, StaffAssignment
from schoolgate.v1.kind_pb2 import (
    KIND_ATTENDANCE_MARK,
    KIND_ENROLMENT,
    KIND_GROUP,
    KIND_GROUP_MEMBERSHIP,
    KIND_STAFF,
    KIND_STAFF_ASSIGNMENT,
    KIND_STUDENT,
)
from schoolgate.v1.people_pb2 import Staff, Student
from schoolgate.v1.roll_pb2 import Enrolment
from schoolgate_bromcom import values
from schoolgate_bromcom.columns import RowReader
from schoolgate_sdk import KeyPart, Parsed, Parser, Ref, Row, RowRejected, SourceKey

STUDENT: Final = "bromcom/student"
PERSON: Final = "bromcom/person"
ENROLMENT: Final = "bromcom/enrolment"
STAFF: Final = "bromcom/staff"
COLLECTION: Final = "bromcom/collection"
COLLECTION_ASSOCIATE: Final = "bromcom/collection_associate"
COLLECTION_EXECUTIVE: Final = "bromcom/collection_executive"
ATTENDANCE: Final = "bromcom/attendance"

_ID_LIMIT: Final = 1 << 63
_SESSIONS: Final = {"am": ATTENDANCE_SESSION_AM, "pm": ATTENDANCE_SESSION_PM}
_LONGEST_MARK: Final = 2
"""Characters of a mark for version 1. A longer one (``AttendanceSessions`` joins marks by commas) is no mark
to it.
"""

_LONGEST_SUBCODE: Final = 8
"""Characters. Bromcom says "2+" of mark and subcode together and gives no bound; this one keeps text out."""

_STATUTORY: Final = frozenset({"C1", "C2", "J1", "Y1", "Y2", "Y3", "Y4", "Y5", "Y6", "Y7"})
"""Codes of two characters in law (SI 2024/208 reg. 10). To Bromcom they are marks with subcodes."""


def parse_student(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the pupil and the pupil's enrolment from a row of ``StudentFlatView``.

    The pupil is also known by a number as a person, since groups name their members by it: by ``personId``
    where the row has the column, else by ``studentId`` where the school's settings say that the two agree,
    else not at all.
    """
    reader = RowReader(row)
    number = reader.key_number("studentId")
    key = reader.key = SourceKey(STUDENT, (number,))
    person = reader.number("personId")
    if person is None and not reader.has("personId") and settings.get("person_id_is_student_id") == "yes":
        person = number
    student = Student(
        upn=reader.text("upn"),
        admission_number=reader.reference_number("admissionNumber"),
        exam_number=reader.reference_number("examNumber"),
        forename=reader.text("firstName"),
        surname=reader.text("lastName"),
        preferred_forename=reader.text("preferredFirstName"),
        preferred_surname=reader.text("preferredLastName"),
        date_of_birth=reader.day("dateOfBirth"),
        sex_code=reader.code("genderCode"),
        email=reader.text("studentEmail"),
        year_group_code=reader.code("yearGroup"),
        ethnicity_code=reader.code("ethnicityCode"),
        sen_provision_code=reader.code("provisionName"),
        free_school_meals_ever_6=reader.flag("everFsm6Flag"),
        english_additional_language=reader.flag("ealFlag"),
        in_care=reader.flag("inCareFlag"),
        gifted_and_talented=reader.flag("gntFlag"),
        pupil_premium=reader.flag("premiumPupilFlag"),
    )
    other_keys = () if person is None else (SourceKey(PERSON, (person,)),)
    pupil = Parsed(KIND_STUDENT, key, student, other_keys=other_keys)
    enrolment = _enrolment(reader, number)
    return (pupil,) if enrolment is None else (pupil, enrolment)


def _enrolment(reader: RowReader, student_id: int) -> Parsed | None:
    """Return the row's enrolment; ``None`` for a row that says nothing of one."""
    enrolment = Enrolment(
        status_code=reader.code("enrolmentStateName"),
        valid_from=reader.day("enrolmentStartDate"),
        valid_to=reader.day_after_last("enrolmentEndDate"),
    )
    if not enrolment.ListFields():
        return None
    year_group = reader.code("yearGroup")
    if year_group is not None:
        enrolment.year_group_code = year_group
    parts: tuple[KeyPart, ...] = (student_id, *_start(enrolment.valid_from))
    return Parsed(KIND_ENROLMENT, SourceKey(ENROLMENT, parts), enrolment, _student_ref(STUDENT, student_id))


def parse_staff(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the member of staff from a row of ``Staff``."""
    reader = RowReader(row)
    key = reader.key = SourceKey(STAFF, (reader.key_number("staffId"),))
    staff = Staff(
        title=reader.text("title"),
        forename=reader.text("firstName"),
        surname=reader.text("lastName"),
        email=reader.text("workEmail"),
        staff_code=reader.text("staffCode"),
        job_title=reader.text("jobTitle"),
    )
    return (Parsed(KIND_STAFF, key, staff),)


def parse_group(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the group from a row of ``Collections``."""
    reader = RowReader(row)
    key = reader.key = SourceKey(COLLECTION, (reader.key_number("collectionID"),))
    group = Group(
        name=reader.group_name("name"),
        description=reader.text("description"),
        type_code=reader.code("collectionTypeName"),
        valid_from=reader.day("startDate"),
        valid_to=reader.day_after_last("endDate"),
    )
    return (Parsed(KIND_GROUP, key, group),)


def parse_group_membership(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the membership from a row of ``CollectionAssociates``, which names the pupil by ``personID``."""
    reader = RowReader(row)
    group = reader.key_number("collectionID")
    person = reader.key_number("personID")
    valid_from = reader.day("startDate")
    key = reader.key = SourceKey(COLLECTION_ASSOCIATE, (group, person, *_start(valid_from)))
    membership = GroupMembership(valid_from=valid_from, valid_to=reader.day_after_last("endDate"))
    refs = (*_group_ref(group), *_student_ref(PERSON, person))
    return (Parsed(KIND_GROUP_MEMBERSHIP, key, membership, refs),)


def parse_staff_assignment(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the assignment from a row of ``CollectionExecutives``, which has no start date."""
    reader = RowReader(row)
    group = reader.key_number("collectionID")
    staff = reader.key_number("staffID")
    role = reader.code("collectionRoleTypeDescription")
    parts: tuple[KeyPart, ...] = (group, staff) if role is None else (group, staff, role)
    key = reader.key = SourceKey(COLLECTION_EXECUTIVE, parts)
    assignment = StaffAssignment(role_code=role, valid_to=reader.day_after_last("endDate"))
    refs = (*_group_ref(group), Ref("staff_id", KIND_STAFF, SourceKey(STAFF, (staff,))))
    return (Parsed(KIND_STAFF_ASSIGNMENT, key, assignment, refs),)


_MARK_COLUMNS: Final = ("studentid", "calendarstartdate", "perioddisplayname", "mark", "attendancecomment")


class _Code(NamedTuple):
    """What a mark says: the code and, where the school tells more apart than the code does, its subcode."""

    code: str | None
    subcode: str | None = None


_ReadMark: TypeAlias = Callable[[str | None], _Code]


def _mark_parser(read_mark: _ReadMark) -> Parser:
    """Return a parser of ``BasicAttendance`` that understands the column ``mark`` as ``read_mark`` does.

    A school has 570,000 session marks a year, so it spells out its fast way: everything that repeats over
    rows (the spelling of columns, days, periods, codes, references) is looked up, and only the rest is worked
    out.
    """

    def parse(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
        try:
            student_id, day, period, mark, comment = _mark_values(tuple(row))(row)
            if type(student_id) is not int or not 0 < student_id < _ID_LIMIT:
                student_id = values.identifier(student_id)
            date = values.day(day)
            name, session = _period(period)
            if student_id is None or date is None or name is None:
                raise _key_missing(student_id, date)
            key = SourceKey(ATTENDANCE, (student_id, date, name))
            code, subcode = read_mark(mark)
            message = AttendanceMark(
                date=date,
                session=session,
                period_name=name,
                code=code,
                comment=None if comment is None else values.text(comment),
            )
            if subcode is not None:
                message.subcode = subcode
        except (TypeError, ValueError) as error:
            if isinstance(error, RowRejected):
                raise
            raise _explain_mark(row, read_mark) from error
        return (Parsed(KIND_ATTENDANCE_MARK, key, message, _student_ref(STUDENT, student_id)),)

    return parse


@lru_cache(maxsize=64)
def _mark_values(names: tuple[str, ...]) -> Callable[[Row], tuple[Any, ...]]:
    spelled = values.spelling(names)
    if all(column in spelled for column in _MARK_COLUMNS):
        return itemgetter(*(spelled[column] for column in _MARK_COLUMNS))
    present = [spelled.get(column) for column in _MARK_COLUMNS]
    return lambda row: tuple(None if name is None else row[name] for name in present)


@lru_cache(maxsize=4096)
def _period(value: str | None) -> tuple[str | None, AttendanceSession.ValueType]:
    """Return a period's name and the register that it belongs to; a period that is neither AM nor PM is a
    lesson's.
    """
    name = None if value is None else values.short_text(value)
    return name, _SESSIONS.get((name or "").lower(), ATTENDANCE_SESSION_LESSON)


@lru_cache(maxsize=4096)
def _whole_mark(value: str | None) -> _Code:
    """Return a mark of one or two characters as it came."""
    found = None if value is None else values.short_text(value)
    if found is not None and len(found) > _LONGEST_MARK:
        raise ValueError("is longer than one attendance code")
    return _Code(found)


@lru_cache(maxsize=4096)
def _mark_and_subcode(value: str | None) -> _Code:
    """Return a mark taken apart: a character of the entity ``Marks``, then an ``AttendanceMarkSubcodes``.

    A comma, or anything else that is neither letter nor digit, is part of no subcode: several marks in one
    text are refused rather than taken for the first of them.
    """
    found = None if value is None else values.short_text(value)
    if found is None or len(found) == 1 or found in _STATUTORY:
        return _Code(found)
    mark, subcode = found[0], found[1:]
    if len(subcode) > _LONGEST_SUBCODE or not (subcode.isascii() and subcode.isalnum()):
        raise ValueError("is no attendance code with a subcode")
    return _Code(mark, subcode)


parse_attendance_mark: Final = _mark_parser(_whole_mark)
"""Version 1 of the parser of ``BasicAttendance``: a mark of one or two characters is a code, whatever it is,
and a longer one rejects the row.
"""

parse_attendance_mark_2: Final = _mark_parser(_mark_and_subcode)
"""Version 2: since August 2024 the same text is a mark with a subcode. The two-character codes of the law
stay whole; of every other text the first character is the code, and so has a meaning, and the rest its
subcode.
"""


def _key_missing(student_id: int | None, date: str | None) -> RowRejected:
    if student_id is None:
        field = "studentId"
    else:
        field = "calendarStartDate" if date is None else "periodDisplayName"
    return RowRejected(diagnostics.DECISION_REASON_KEY_MISSING, field, "is part of the key and is missing")


def _explain_mark(row: Row, read_mark: _ReadMark) -> RowRejected:
    """Read a mark that the fast way could not read once more, value by value, for the sake of a telling
    verdict.
    """
    try:
        reader = RowReader(row)
        student_id, date = reader.number("studentId"), reader.day("calendarStartDate")
        name = reader.value("periodDisplayName", lambda value: _period(value)[0])
        if student_id is None or date is None or name is None:
            return _key_missing(student_id, date)
        reader.key = SourceKey(ATTENDANCE, (student_id, date, name))
        reader.value("mark", read_mark)
        reader.text("attendanceComment")
    except RowRejected as rejected:
        return rejected
    return RowRejected(diagnostics.DECISION_REASON_VALUE_INVALID, "", "the row cannot be read", reader.key)


@lru_cache(maxsize=16_384)
def _student_ref(namespace: str, number: int) -> tuple[Ref]:
    return (Ref("student_id", KIND_STUDENT, SourceKey(namespace, (number,))),)


@lru_cache(maxsize=4096)
def _group_ref(number: int) -> tuple[Ref]:
    return (Ref("group_id", KIND_GROUP, SourceKey(COLLECTION, (number,))),)


def _start(valid_from: str | None) -> tuple[str, ...]:
    """Return the last part of a dated row's key; a row without a first day is keyed without it."""
    return (valid_from,) if valid_from else ()
