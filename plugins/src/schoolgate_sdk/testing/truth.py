"""What a world is in canonical messages, under keys of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple, TypeVar

from google.protobuf.message import Message

from schoolgate.v1 import (
    assessment_pb2,
    attendance_pb2,
    behaviour_pb2,
    groups_pb2,
    people_pb2,
    roll_pb2,
    timetable_pb2,
)
from schoolgate.v1 import kind_pb2 as k
from schoolgate_sdk.keys import KeyPart
from schoolgate_sdk.testing.attendance_codes import CURRENT_CODES, RETIRED_CODES
from schoolgate_sdk.testing.entities import LessonMark
from schoolgate_sdk.testing.state import WorldState

_M = TypeVar("_M", bound=Message)
_CODES_BEGAN = "2024-08-19"
_SESSIONS = {
    "AM": attendance_pb2.ATTENDANCE_SESSION_AM,
    "PM": attendance_pb2.ATTENDANCE_SESSION_PM,
}


class TruthRef(NamedTuple):
    """What a message's ``field`` refers to, by the world's key of it."""

    field: str
    kind: k.Kind.ValueType
    key: tuple[KeyPart, ...]


class Truth(NamedTuple):
    """One canonical entity.

    ``key`` is the world's own, of numbers and texts, dates in ISO 8601:

    ===================  ===============================  ===================  ============================
    school               DfE number                       group_membership     group, pupil, first day
    academic_year        name                             staff_assignment     group, staff, role, first day
    student              pupil number                     enrolment            pupil, first day
    staff                staff number                     admission            pupil
    contact              contact number                   room, period         number
    student_contact      pupil, contact                   timetable_entry      number
    subject              code                             attendance_code      code
    group                number                           attendance_mark      pupil, date, "AM", "PM" or
    local_code           category, code                                        the lesson's period
    behaviour_event      number                           assessment_result    number
    ===================  ===============================  ===================  ============================

    Categories of local codes are "year_group", "house" and "behaviour_type". Of pupils whose consent was
    withdrawn there is nothing, nor of contacts that are theirs alone: a MIS does not show them.

    As with a parser's messages, the fields named in ``refs`` are unset in ``message``, and so are the
    canonical meanings of coded fields: both are the server's to fill in.
    """

    kind: k.Kind.ValueType
    key: tuple[KeyPart, ...]
    message: Message
    refs: tuple[TruthRef, ...] = ()


def canonical(state: WorldState, date_from: date | None, date_to: date | None) -> Iterator[Truth]:
    """See ``World.canonical``."""
    yield from _school(state)
    yield from _people(state)
    yield from _groups(state)
    yield from _roll(state)
    yield from _timetable(state)
    yield from _conduct(state)
    yield from _attendance(state, date_from, date_to)


def _message(cls: type[_M], entity: object = None, /, **further: object) -> _M:
    """Return a message with the values that ``entity`` has under the message's field names, and ``further``.

    What is ``None`` stays unset; dates become ISO 8601.
    """
    message = cls()
    for field in cls.DESCRIPTOR.fields_by_name:
        value = further.get(field, getattr(entity, field, None))
        if isinstance(value, list):
            getattr(message, field).extend(value)
        elif value is not None:
            setattr(message, field, value.isoformat() if isinstance(value, date) else value)
    return message


def _pupil_ref(number: int) -> TruthRef:
    return TruthRef("student_id", k.KIND_STUDENT, (number,))


def _group_ref(number: int) -> TruthRef:
    return TruthRef("group_id", k.KIND_GROUP, (number,))


def _school(state: WorldState) -> Iterator[Truth]:
    school, year = state.school, state.year
    authority, establishment = divmod(school.dfe_number, 10_000)
    whole = authority >= 100
    details = _message(
        roll_pb2.SchoolDetails,
        school,
        local_authority_number=str(authority) if whole else None,
        establishment_number=f"{establishment:04d}" if whole else None,
    )
    yield Truth(k.KIND_SCHOOL, (school.dfe_number,), details)
    terms = [_message(roll_pb2.AcademicYear.Term, term) for term in year.terms]
    yield Truth(k.KIND_ACADEMIC_YEAR, (year.name,), _message(roll_pb2.AcademicYear, year, terms=terms))
    houses = [group.name for group in state.groups.values() if group.type_code == "HOUSE"]
    for category, codes in (("year_group", list(state.year_groups)), ("house", houses)):
        for code in codes:
            message = _message(roll_pb2.LocalCode, category=category, code=code, active=True)
            yield Truth(k.KIND_LOCAL_CODE, (category, code), message)
    for kind in state.behaviour_types.values():
        code = str(kind.number)
        message = _message(
            roll_pb2.LocalCode, category="behaviour_type", code=code, description=kind.name, active=True
        )
        yield Truth(k.KIND_LOCAL_CODE, ("behaviour_type", code), message)


def _people(state: WorldState) -> Iterator[Truth]:
    for pupil in state.pupils.values():
        if pupil.number in state.withheld:
            continue
        student = _message(people_pb2.Student, pupil, year_group_code=pupil.year_group)
        yield Truth(k.KIND_STUDENT, (pupil.number,), student)
    for member in state.staff.values():
        yield Truth(k.KIND_STAFF, (member.number,), _message(people_pb2.Staff, member))
    links = [link for link in state.contact_links.values() if link.pupil not in state.withheld]
    shown = {link.contact for link in links} if state.withheld else state.contacts.keys()
    for contact in state.contacts.values():
        if contact.number in shown:
            yield Truth(k.KIND_CONTACT, (contact.number,), _message(people_pb2.Contact, contact))
    for link in links:
        refs = (_pupil_ref(link.pupil), TruthRef("contact_id", k.KIND_CONTACT, (link.contact,)))
        edge = _message(people_pb2.StudentContact, link)
        yield Truth(k.KIND_STUDENT_CONTACT, (link.pupil, link.contact), edge, refs)


def _groups(state: WorldState) -> Iterator[Truth]:
    for subject in state.subjects.values():
        yield Truth(k.KIND_SUBJECT, (subject.code,), _message(groups_pb2.Subject, subject))
    for group in state.groups.values():
        subjects = (TruthRef("subject_id", k.KIND_SUBJECT, (group.subject,)),) if group.subject else ()
        yield Truth(k.KIND_GROUP, (group.number,), _message(groups_pb2.Group, group), subjects)
    for held in state.memberships.values():
        if held.pupil in state.withheld:
            continue
        key = (held.group, held.pupil, held.valid_from.isoformat())
        refs = (_group_ref(held.group), _pupil_ref(held.pupil))
        yield Truth(k.KIND_GROUP_MEMBERSHIP, key, _message(groups_pb2.GroupMembership, held), refs)
    for role in state.assignments.values():
        role_key = (role.group, role.staff, role.role_code, role.valid_from.isoformat())
        refs = (_group_ref(role.group), TruthRef("staff_id", k.KIND_STAFF, (role.staff,)))
        yield Truth(k.KIND_STAFF_ASSIGNMENT, role_key, _message(groups_pb2.StaffAssignment, role), refs)


def _roll(state: WorldState) -> Iterator[Truth]:
    begins: dict[int, date] = {}
    ends: dict[int, date | None] = {}
    for held in state.enrolments.values():
        if held.pupil in state.withheld:
            continue
        enrolment = _message(roll_pb2.Enrolment, held, year_group_code=held.year_group)
        key = (held.pupil, held.valid_from.isoformat())
        yield Truth(k.KIND_ENROLMENT, key, enrolment, (_pupil_ref(held.pupil),))
        begins[held.pupil] = min(held.valid_from, begins.get(held.pupil, held.valid_from))
        end = ends.get(held.pupil, held.valid_to)
        ends[held.pupil] = max(held.valid_to, end) if held.valid_to and end else None
    for pupil, first in begins.items():
        end = ends[pupil]
        admission = _message(
            roll_pb2.Admission,
            admission_number=state.pupils[pupil].admission_number,
            admitted_on=first,
            left_on=end - timedelta(days=1) if end else None,
        )
        yield Truth(k.KIND_ADMISSION, (pupil,), admission, (_pupil_ref(pupil),))


def _timetable(state: WorldState) -> Iterator[Truth]:
    for room in state.rooms.values():
        yield Truth(k.KIND_ROOM, (room.number,), _message(timetable_pb2.Room, code=room.code, name=room.name))
    for period in state.periods.values():
        message = _message(
            timetable_pb2.Period,
            period,
            start_time=f"{period.starts:%H:%M}",
            end_time=f"{period.ends:%H:%M}",
        )
        yield Truth(k.KIND_PERIOD, (period.number,), message)
    for entry in state.timetable.values():
        refs = [_group_ref(entry.group), TruthRef("period_id", k.KIND_PERIOD, (entry.period,))]
        if entry.staff is not None:
            refs.append(TruthRef("staff_id", k.KIND_STAFF, (entry.staff,)))
        if entry.room is not None:
            refs.append(TruthRef("room_id", k.KIND_ROOM, (entry.room,)))
        subject = state.groups[entry.group].subject
        if subject is not None:
            refs.append(TruthRef("subject_id", k.KIND_SUBJECT, (subject,)))
        body = _message(timetable_pb2.TimetableEntry, entry)
        yield Truth(k.KIND_TIMETABLE_ENTRY, (entry.number,), body, tuple(refs))


def _attendance(state: WorldState, date_from: date | None, date_to: date | None) -> Iterator[Truth]:
    for code, description in CURRENT_CODES.items():
        began = _CODES_BEGAN if len(code) > 1 else None
        message = _message(
            attendance_pb2.AttendanceCode, code=code, description=description, valid_from=began
        )
        yield Truth(k.KIND_ATTENDANCE_CODE, (code,), message)
    for code, description in RETIRED_CODES.items():
        message = _message(
            attendance_pb2.AttendanceCode, code=code, description=description, valid_to=_CODES_BEGAN
        )
        yield Truth(k.KIND_ATTENDANCE_CODE, (code,), message)
    shown = state.registers.of.keys() - state.withheld if state.withheld else None
    for mark in state.registers.marks(date_from, date_to, shown):
        day = mark.date.isoformat()
        body = attendance_pb2.AttendanceMark(
            date=day, session=_SESSIONS[mark.session], period_name=mark.session, code=mark.code
        )
        if mark.comment is not None:
            body.comment = mark.comment
        yield Truth(k.KIND_ATTENDANCE_MARK, (mark.pupil, day, mark.session), body, (_pupil_ref(mark.pupil),))
    for lesson in state.lesson_marks.values():
        inside = (date_from is None or date_from <= lesson.date) and (
            date_to is None or lesson.date < date_to
        )
        if inside and lesson.pupil not in state.withheld:
            yield _lesson_mark(state, lesson)


def _lesson_mark(state: WorldState, lesson: LessonMark) -> Truth:
    name, day = state.periods[lesson.period].name, lesson.date.isoformat()
    body = _message(
        attendance_pb2.AttendanceMark,
        date=day,
        session=attendance_pb2.ATTENDANCE_SESSION_LESSON,
        period_name=name,
        code=lesson.code,
        comment=lesson.comment,
    )
    return Truth(k.KIND_ATTENDANCE_MARK, (lesson.pupil, day, name), body, (_pupil_ref(lesson.pupil),))


def _conduct(state: WorldState) -> Iterator[Truth]:
    for event in state.behaviour.values():
        if event.pupil in state.withheld:
            continue
        refs = [_pupil_ref(event.pupil)]
        for field, kind, number in (
            ("staff_id", k.KIND_STAFF, event.staff),
            ("group_id", k.KIND_GROUP, event.group),
            ("room_id", k.KIND_ROOM, event.room),
        ):
            if number is not None:
                refs.append(TruthRef(field, kind, (number,)))
        body = _message(
            behaviour_pb2.BehaviourEvent,
            event,
            type_code=str(event.event_type),
            type_name=state.behaviour_types[event.event_type].name,
        )
        yield Truth(k.KIND_BEHAVIOUR_EVENT, (event.number,), body, tuple(refs))
    for result in state.assessments.values():
        if result.pupil in state.withheld:
            continue
        refs = [_pupil_ref(result.pupil)]
        if result.subject is not None:
            refs.append(TruthRef("subject_id", k.KIND_SUBJECT, (result.subject,)))
        message = _message(
            assessment_pb2.AssessmentResult,
            result,
            assessment_name=result.assessment,
            term_name=result.term,
            year_group_code=result.year_group,
        )
        yield Truth(k.KIND_ASSESSMENT_RESULT, (result.number,), message, tuple(refs))
