"""A world states itself in canonical messages that leave open only what the server fills in."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest

from schoolgate.v1 import attendance_pb2, kind_pb2, people_pb2
from schoolgate_sdk.keys import source_key
from schoolgate_sdk.kinds import kind_info
from schoolgate_sdk.testing.world import Truth, World


@pytest.fixture(scope="module")
def world() -> World:
    """A world that tests read only, with a leaver and a corrected mark."""
    made = World.build(8, pupils=60, marks_until=date(2026, 10, 1))
    made.leave(5, date(2026, 9, 21))
    made.correct_mark(6, date(2026, 9, 22), "PM", "C1", "Filming")
    return made


@pytest.fixture(scope="module")
def truths(world: World) -> list[Truth]:
    return list(world.canonical())


def test_every_kind_that_a_school_has_is_stated(truths: list[Truth]) -> None:
    kinds = set(kind_pb2.Kind.values()) - {kind_pb2.KIND_UNSPECIFIED}
    assert {truth.kind for truth in truths} == kinds


def test_counts_are_those_of_the_world(world: World, truths: list[Truth]) -> None:
    counts = Counter(truth.kind for truth in truths)
    for kind, size in [
        (kind_pb2.KIND_STUDENT, len(world.pupils)),
        (kind_pb2.KIND_STAFF, len(world.staff)),
        (kind_pb2.KIND_CONTACT, len(world.contacts)),
        (kind_pb2.KIND_STUDENT_CONTACT, len(world.contact_links)),
        (kind_pb2.KIND_GROUP, len(world.groups)),
        (kind_pb2.KIND_GROUP_MEMBERSHIP, len(world.memberships)),
        (kind_pb2.KIND_STAFF_ASSIGNMENT, len(world.assignments)),
        (kind_pb2.KIND_ENROLMENT, len(world.enrolments)),
        (kind_pb2.KIND_TIMETABLE_ENTRY, len(world.timetable)),
        (kind_pb2.KIND_BEHAVIOUR_EVENT, len(world.behaviour)),
        (kind_pb2.KIND_ASSESSMENT_RESULT, len(world.assessments)),
        (kind_pb2.KIND_ATTENDANCE_MARK, world.count_marks()),
    ]:
        assert counts[kind] == size


def test_keys_are_unique_and_can_be_source_keys(truths: list[Truth]) -> None:
    keys = [(truth.kind, source_key("world", *truth.key)) for truth in truths]
    assert len(keys) == len(set(keys))


def test_messages_are_of_their_kind_and_leave_meanings_and_references_open(truths: list[Truth]) -> None:
    for truth in truths:
        info = kind_info(truth.kind)
        assert isinstance(truth.message, info.message)
        for field in (*info.coded.values(), *info.references):
            assert not truth.message.HasField(field), field
        assert {ref.field for ref in truth.refs} <= set(info.references)


def test_references_lead_to_what_is_stated(truths: list[Truth]) -> None:
    stated = {(truth.kind, truth.key) for truth in truths}
    for truth in truths:
        for ref in truth.refs:
            assert (ref.kind, ref.key) in stated, (truth.kind, truth.key, ref)


def _of(truths: list[Truth], kind: kind_pb2.Kind.ValueType, *key: int | str) -> Truth:
    (found,) = (truth for truth in truths if truth.kind == kind and truth.key == key)
    return found


def test_a_missing_value_is_absent_and_not_empty(world: World, truths: list[Truth]) -> None:
    pupil = next(pupil for pupil in world.pupils.values() if pupil.middle_names is None)
    student = _of(truths, kind_pb2.KIND_STUDENT, pupil.number).message
    assert isinstance(student, people_pb2.Student)
    assert not student.HasField("middle_names")
    assert student.surname == pupil.surname
    assert student.date_of_birth == str(pupil.date_of_birth)


def test_a_message_has_every_value_that_the_world_has(world: World, truths: list[Truth]) -> None:
    renamed = {"year_group_code": "year_group"}
    for pupil in world.pupils.values():
        student = _of(truths, kind_pb2.KIND_STUDENT, pupil.number).message
        for field in student.DESCRIPTOR.fields:
            value = getattr(pupil, renamed.get(field.name, field.name), None)
            assert student.HasField(field.name) == (value is not None), field.name
            if value is not None:
                assert getattr(student, field.name) == (str(value) if isinstance(value, date) else value)
    term = _of(truths, kind_pb2.KIND_ACADEMIC_YEAR, "2026/27").message
    assert [each.name for each in term.terms] == ["Autumn", "Spring", "Summer"]  # type: ignore[attr-defined]  # an AcademicYear
    link = next(iter(world.contact_links.values()))
    edge = _of(truths, kind_pb2.KIND_STUDENT_CONTACT, link.pupil, link.contact).message
    assert isinstance(edge, people_pb2.StudentContact)
    assert (edge.relationship_code, edge.court_order) == (link.relationship_code, link.court_order)


def test_a_leaver_is_stated_with_the_last_day(truths: list[Truth]) -> None:
    enrolments = [t for t in truths if t.kind == kind_pb2.KIND_ENROLMENT and t.key[0] == 5]
    assert {t.message.valid_to for t in enrolments} == {"2026-09-21"}  # type: ignore[attr-defined]  # an Enrolment
    admission = _of(truths, kind_pb2.KIND_ADMISSION, 5).message
    assert admission.left_on == "2026-09-20"  # type: ignore[attr-defined]  # an Admission


def test_a_mark_is_stated_with_session_code_and_comment(truths: list[Truth]) -> None:
    truth = _of(truths, kind_pb2.KIND_ATTENDANCE_MARK, 6, "2026-09-22", "PM")
    assert truth.message == attendance_pb2.AttendanceMark(
        date="2026-09-22",
        session=attendance_pb2.ATTENDANCE_SESSION_PM,
        period_name="PM",
        code="C1",
        comment="Filming",
    )


def test_dates_bound_the_marks_alone(world: World, truths: list[Truth]) -> None:
    bounded = list(world.canonical(date(2026, 9, 22), date(2026, 9, 23)))
    days = {truth.key[1] for truth in bounded if truth.kind == kind_pb2.KIND_ATTENDANCE_MARK}
    assert days == {"2026-09-22"}
    marks = kind_pb2.KIND_ATTENDANCE_MARK
    assert [t for t in bounded if t.kind != marks] == [t for t in truths if t.kind != marks]
