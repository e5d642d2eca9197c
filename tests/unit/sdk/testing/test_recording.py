"""What is recorded about pupils: contacts, behaviour, results, marks of lessons, consent."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from schoolgate.v1 import attendance_pb2
from schoolgate.v1 import kind_pb2 as k
from schoolgate_sdk.testing.world import EditRefused, Truth, World
from tests.unit.sdk.testing.consistency import check, digest

AT = datetime.fromisoformat("2026-09-22T10:05")


@pytest.fixture
def world() -> World:
    return World.build(8, pupils=60, marks_until=date(2026, 10, 1))


def _of(world: World, kind: k.Kind.ValueType) -> list[Truth]:
    return [truth for truth in world.canonical() if truth.kind == kind]


def test_a_year_brings_a_few_events_and_results_to_a_pupil() -> None:
    world = World.build(3, pupils=300)
    assert 3 <= len(world.behaviour) / 300 <= 5
    assert 3 <= len(world.assessments) / 300 <= 5
    events = list(world.behaviour.values())
    assert all(event.occurred_at.date() in world.year.days for event in events)
    for name in ("group", "room", "comment", "internal_comment"):
        missing = sum(1 for event in events if getattr(event, name) is None)
        assert 0 < missing < len(events)


def test_what_happens_in_a_year_does_not_depend_on_the_days_on_which_one_looks() -> None:
    at_once = World.build(3, pupils=30, marks_until=date(2026, 10, 1))
    again = World.build(3, pupils=30, marks_until=date(2026, 10, 1))
    assert digest(at_once) == digest(again)
    at_once.advance(date(2027, 1, 20))
    again.advance(date(2027, 1, 20))
    assert digest(at_once) == digest(again)
    assert len(at_once.behaviour) > len(World.build(3, pupils=30, marks_until=date(2026, 10, 1)).behaviour)


def test_a_behaviour_event_states_its_type_and_points(world: World) -> None:
    event = world.record_behaviour(3, 5, AT, staff=2, comment="Ça <va> mieux")
    [truth] = [truth for truth in _of(world, k.KIND_BEHAVIOUR_EVENT) if truth.key == (event.number,)]
    assert str(truth.message).split("\n")[:-1] == [
        'type_code: "5"',
        'type_name: "Disruption of a lesson"',
        'occurred_at: "2026-09-22T10:05:00"',
        "points: -2",
        'comment: "Ça <va> mieux"',
    ]
    assert [ref.field for ref in truth.refs] == ["student_id", "staff_id"]
    assert world.correct_behaviour(event.number, points=-4).points == -4
    world.delete_behaviour(event.number)
    assert event.number not in world.behaviour
    assert world.record_behaviour(3, 5, AT).number == event.number + 1


def test_a_result_entered_again_replaces_the_first(world: World) -> None:
    first = world.record_result(3, "Mock", "6", subject="Ma", term="Autumn", is_grade=True)
    again = world.record_result(3, "Mock", "7", subject="Ma", term="Autumn", entered_on=date(2026, 10, 7))
    assert (again.number, again.result, again.is_grade) == (first.number, "7", True)
    assert world.record_result(3, "Mock", "6", subject="Ma", term="Spring").number != first.number


def test_a_contact_is_shared_and_goes_with_the_last_who_has_it(world: World) -> None:
    contact = world.add_contact(3, "PAM", "Ní Bhriain", telephone="07700 900001")
    link = world.link_contact(4, contact.number, relationship_code="STM", parental_responsibility=False)
    assert (link.relationship_code, link.parental_responsibility) == ("STM", False)
    world.change_contact(contact.number, telephone="07700 900002")
    assert world.contacts[contact.number].telephone == "07700 900002"
    world.unlink_contact(3, contact.number)
    check(world)
    world.unlink_contact(4, contact.number)
    assert contact.number not in world.contacts
    with pytest.raises(EditRefused, match="is needed for a new link"):
        world.link_contact(4, next(iter(world.contacts)), priority=1)


def test_a_lesson_has_a_mark_of_its_own(world: World) -> None:
    monday = date(2026, 9, 21)
    period = next(p for p in world.periods.values() if p.type_code == "PERIOD" and p.weekday == 1)
    before = world.count_marks()
    world.record_mark(3, monday, "L", period=period.number, comment="Bus")
    assert world.count_marks() == before
    lesson = attendance_pb2.ATTENDANCE_SESSION_LESSON
    [truth] = [
        truth
        for truth in _of(world, k.KIND_ATTENDANCE_MARK)
        if isinstance(truth.message, attendance_pb2.AttendanceMark) and truth.message.session == lesson
    ]
    assert truth.key == (3, "2026-09-21", period.name)
    assert truth.key in {each.key for each in world.canonical(monday, date(2026, 9, 22))}
    assert truth.key not in {each.key for each in world.canonical(date(2026, 9, 22))}
    with pytest.raises(EditRefused, match="no lesson's period of that day"):
        world.record_mark(3, date(2026, 9, 22), "L", period=period.number)
    with pytest.raises(EditRefused, match="and not both"):
        world.record_mark(3, monday, "L")


def test_nothing_is_stated_of_a_pupil_without_consent(world: World) -> None:
    everything = digest(world)
    world.withdraw_consent(3)
    assert world.withheld == {3}
    for truth in world.canonical():
        assert all(ref.key != (3,) for ref in truth.refs if ref.kind == k.KIND_STUDENT)
        assert (truth.kind, truth.key) != (k.KIND_STUDENT, (3,))
    linked = {ref.key for truth in _of(world, k.KIND_STUDENT_CONTACT) for ref in truth.refs}
    assert all(truth.key in linked for truth in _of(world, k.KIND_CONTACT))
    with pytest.raises(EditRefused, match="no consent to withdraw"):
        world.withdraw_consent(3)
    world.rekey(3, 900)
    assert world.withheld == {900}
    world.rekey(900, 901)
    world.grant_consent(901)
    assert digest(world) != everything
    other = World.build(8, pupils=60, marks_until=date(2026, 10, 1))
    other.rekey(3, 900)
    other.rekey(900, 901)
    assert digest(world) == digest(other)


def test_a_merge_passes_on_what_the_survivor_has_nothing_in_place_of(world: World) -> None:
    world.record_result(6, "Mock", "3", term="Autumn")
    world.record_result(7, "Mock", "9", term="Autumn")
    world.record_result(6, "Essay", "5", term="Autumn")
    event = world.record_behaviour(6, 1, AT)
    world.merge(6, 7)
    check(world)
    found = {r.assessment: r.result for r in world.assessments.values() if r.pupil == 7}
    assert (found["Mock"], found["Essay"]) == ("9", "5")
    assert world.behaviour[event.number].pupil == 7
