"""What the school's copy says against an operation, read from a store."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from schoolgate.v1 import attendance_pb2 as a
from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_DELETED_IN_MIS, TOMBSTONE_REASON_LEFT
from schoolgate.v1.timetable_pb2 import Period
from schoolgate_sdk import source_key
from schoolgate_sdk.testing.world import Truth, TruthRef
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.writeback.school import ledger_values
from schoolgate_server.writeback.values import ReferenceLost, dispatched_values
from tests.integration.writeback.conftest import SCHOOL, Desk, refusal, writing_connector
from tests.support.writes import new_write

NOBODY = f"stu_{'0' * 32}"


def without_staff(entry: Truth) -> tuple[TruthRef, ...]:
    return tuple(ref for ref in entry.refs if ref.field != "staff_id")


def truth(desk: Desk, kind: k.Kind.ValueType, *key: int | str) -> Truth:
    return next(each for each in desk.world.canonical() if each.kind == kind and each.key == key)


async def test_what_is_right_has_no_problem(desk: Desk) -> None:
    assert await desk.problems(desk.mark()) == {}
    assert await desk.problems(desk.event()) == {}


async def test_everything_that_is_wrong_is_told_at_once(desk: Desk) -> None:
    """Fields and what the copy says of them, the envelope too; no name, code or comment is repeated."""
    wrong = desk.event(
        student_id=NOBODY,
        staff_id=desk.pupil,
        type_code="\x00",
        occurred_at="yesterday",
        points=1_000_000,
        comment="Ann\x07",
    )
    error = await refusal(desk.submit(wrong, "undo-x", source_record_id="x" * 201))
    told = {each.field: each.description for each in error.violations}
    path = "operation.record_behaviour_event."
    fields = ("student_id", "staff_id", "type_code", "occurred_at", "points", "comment")
    assert told.keys() == {"idempotency_key", "source_record_id", *(path + field for field in fields)}
    assert "Ann" not in error.message
    assert NOBODY not in error.message


async def test_nothing_at_all_is_refused_with_the_path_of_what_is_missing(desk: Desk) -> None:
    error = await refusal(desk.submit(pb.WriteOperation()))
    assert [each.field for each in error.violations] == ["operation"]


async def test_who_is_named_must_be_there(desk: Desk) -> None:
    """Seen to fail where records that left are taken. Those of another school are nobody here (G17)."""
    assert (await desk.problems(desk.event(student_id=NOBODY))).keys() == {"student_id"}
    assert (await desk.problems(desk.event(staff_id=f"stf_{'0' * 32}"))).keys() == {"staff_id"}
    await desk.stored.put([truth(desk, k.KIND_STAFF, 1)], TOMBSTONE_REASON_LEFT)
    await desk.stored.put([truth(desk, k.KIND_STUDENT, 1)], TOMBSTONE_REASON_LEFT)
    assert (await desk.problems(desk.event())).keys() == {"student_id", "staff_id"}


async def test_the_pupil_must_be_on_roll_on_the_day_of_the_school(desk: Desk) -> None:
    """Half past eleven at night in UTC is the next day in summer. Seen to fail with the day of UTC."""
    assert (await desk.problems(desk.mark(date="2026-08-31"))).keys() == {"student_id"}
    assert await desk.problems(desk.event(occurred_at="2026-08-31T23:30:00Z")) == {}
    before = desk.event(occurred_at="2026-08-31T22:30:00Z")
    assert (await desk.problems(before)).keys() == {"student_id"}


async def test_a_code_must_be_one_of_the_schools(desk: Desk) -> None:
    assert await desk.problems(desk.mark(code="C1")) == {}
    assert (await desk.problems(desk.mark(code="9"))).keys() == {"code"}
    assert (await desk.problems(desk.mark(code="H"))).keys() == {"code"}


async def test_a_type_of_behaviour_must_be_one_of_the_schools(desk: Desk) -> None:
    assert (await desk.problems(desk.event(type_code="99"))).keys() == {"type_code"}
    assert await desk.problems(desk.event(type_code="2")) == {}


async def test_a_lesson_must_be_in_the_pupils_timetable_of_the_day(desk: Desk) -> None:
    """As far as the copy has timetables. Seen to fail where the period is not looked up."""
    world = tuple(desk.world.canonical())
    periods = {each.key: each.message for each in world if isinstance(each.message, Period)}
    monday = {key: period.name for key, period in periods.items() if period.weekday == 1}
    groups = {each.key[0] for each in world if each.kind == k.KIND_GROUP_MEMBERSHIP and each.key[1] == 1}
    meetings = [each.refs[:2] for each in world if each.kind == k.KIND_TIMETABLE_ENTRY]
    mine = {
        monday[period.key] for group, period in meetings if group.key[0] in groups and period.key in monday
    }
    lesson = a.ATTENDANCE_SESSION_LESSON
    assert mine
    for name in sorted(mine)[:3]:
        assert await desk.problems(desk.mark(session=lesson, period_name=name)) == {}
    for name in [*sorted({*monday.values()} - mine)[:2], "Maths"]:
        told = await desk.problems(desk.mark(session=lesson, period_name=name))
        assert told.keys() == {"period_name"}
    holiday = desk.mark(session=lesson, period_name=min(mine), date="2026-09-01")
    assert (await desk.problems(holiday)).keys() == {"period_name"}


async def test_the_register_of_a_lesson_is_taken_by_who_teaches_the_pupil_then(desk: Desk) -> None:
    """By the timetable, or without one that names anybody by the assignments of that day; a session's by
    anybody who is there. Seen to fail where who teaches is not looked up, or assignments are not read.
    """
    world = desk.world
    mine = {held.group for held in world.memberships.values() if held.pupil == 1}
    monday = {slot.number: slot.name for slot in world.periods.values() if slot.weekday == 1}
    mondays = [each for each in world.timetable.values() if each.group in mine and each.period in monday]
    name = min(monday[each.period] for each in mondays)
    then = [each for each in mondays if monday[each.period] == name]
    teaching = {each.staff for each in then if each.staff is not None}
    assert teaching
    stranger = min(set(world.staff) - teaching)

    def by(staff: int, **changes: Any) -> pb.WriteOperation:
        lesson: dict[str, Any] = {"session": a.ATTENDANCE_SESSION_LESSON, "period_name": name, **changes}
        return desk.mark(staff_id=desk.stored.id_of(k.KIND_STAFF, staff), **lesson)

    for staff in teaching:
        assert await desk.problems(by(staff)) == {}
    told = await desk.problems(by(stranger))
    assert told == {"staff_id": "must be somebody who teaches the pupil in that period"}
    assert await desk.problems(by(stranger, session=1, period_name=None)) == {}
    nobody = desk.mark(session=3, period_name=name, staff_id=f"stf_{'0' * 32}")
    assert await desk.problems(nobody) == {"staff_id": "must be a record of the school"}

    entries = [truth(desk, k.KIND_TIMETABLE_ENTRY, each.number) for each in then]
    await desk.stored.put([each._replace(refs=without_staff(each)) for each in entries])
    assigned = {each.staff for each in world.assignments.values() if each.group == then[0].group}
    assert assigned
    others = set(world.staff) - {each.staff for each in world.assignments.values() if each.group in mine}
    assert await desk.problems(by(min(assigned))) == {}
    assert (await desk.problems(by(min(others)))).keys() == {"staff_id"}
    groups = {each.group for each in then}
    roles = [
        each for each in world.canonical() if each.kind == k.KIND_STAFF_ASSIGNMENT and each.key[0] in groups
    ]
    await desk.stored.put(roles, TOMBSTONE_REASON_DELETED_IN_MIS)
    assert await desk.problems(by(min(others))) == {}  # nobody knows who teaches


async def test_a_school_that_was_not_synced_is_not_asked_what_it_cannot_know(empty_desk: Desk) -> None:
    """Of pupils alone nothing else can be wrong: no enrolments, codes, types or timetables."""
    desk = empty_desk
    await desk.stored.put([truth(desk, k.KIND_STUDENT, 1), truth(desk, k.KIND_STAFF, 1)])
    assert await desk.problems(desk.mark(code="?", date="2020-01-01")) == {}
    lesson = desk.mark(session=a.ATTENDANCE_SESSION_LESSON, period_name="P1")
    assert await desk.problems(lesson) == {}
    assert await desk.problems(desk.event(type_code="x", occurred_at="2020-01-01T10:00:00Z")) == {}


async def test_a_retired_code_is_none_without_a_table_too(empty_desk: Desk) -> None:
    await empty_desk.stored.put([truth(empty_desk, k.KIND_STUDENT, 1)])
    assert (await empty_desk.problems(empty_desk.mark(code="H"))).keys() == {"code"}
    assert await empty_desk.problems(empty_desk.mark(code="H", date="2024-08-18")) == {}


async def test_what_is_corrected_must_be_there_and_its_code_right_on_its_day(desk: Desk) -> None:
    mark = desk.stored.id_of(k.KIND_ATTENDANCE_MARK, 1, "2026-09-07", "AM")
    assert await desk.problems(desk.correction(mark, code="N")) == {}
    assert (await desk.problems(desk.correction(mark, code="9"))).keys() == {"code"}
    assert (await desk.problems(desk.correction(f"mrk_{'0' * 32}", code="N"))).keys() == {"record_id"}


async def test_only_what_a_write_made_is_taken_back(desk: Desk) -> None:
    """What a teacher entered is not this service's to delete. Seen to fail where anything is."""
    event = desk.stored.id_of(k.KIND_BEHAVIOUR_EVENT, 1)
    taken_back = pb.WriteOperation(deactivate_record=pb.DeactivateRecord(record_id=event))
    assert (await desk.problems(taken_back)).keys() == {"record_id"}
    await desk.confirmed(desk.event(), event, seq_sent=0)
    assert await desk.problems(taken_back) == {}


async def test_what_a_write_changed_only_is_not_taken_back(desk: Desk) -> None:
    """The mark was there before. Seen to fail where whatever a write touched may be taken back."""
    mark = desk.stored.id_of(k.KIND_ATTENDANCE_MARK, 1, "2026-09-07", "AM")
    changing = await desk.confirmed(desk.mark(date="2026-09-07"), mark)
    taken_back = pb.WriteOperation(deactivate_record=pb.DeactivateRecord(record_id=mark))
    assert "ReverseWrite" in (await desk.problems(taken_back))["record_id"]
    assert (await desk.reverse(changing.write_id)).operation_name == "record_attendance_mark"


async def test_a_pupil_whom_the_present_mis_does_not_know_cannot_be_written(desk: Desk) -> None:
    """After a change of MIS. Seen to fail where the first key is taken, whatever MIS it is of."""
    elsewhere = desk.serving(writing_connector(number_space="other"))
    error = await refusal(desk.submit(desk.mark(), service=elsewhere))
    assert [each.field for each in error.violations] == ["operation.record_attendance_mark.student_id"]


async def test_values_hold_the_keys_of_the_present_mis(desk: Desk) -> None:
    pupil = desk.stored.change(truth(desk, k.KIND_STUDENT, 1))
    moved = pupil._replace(keys=(*pupil.keys, '["other/student","A7"]', '["world/person",3]'))
    await desk.stored.put_changes([moved])
    teacher = source_key("world/staff", 1)
    for space, key in (
        ("world", source_key("world/student", 1)),
        ("other", source_key("other/student", "A7")),
    ):
        connector = writing_connector(number_space=space)
        if space == "other":
            with pytest.raises(ReferenceLost, match="staff_id"):
                await dispatched_values(desk.store, connector, SCHOOL, desk.event())
        else:
            values = await dispatched_values(desk.store, connector, SCHOOL, desk.event())
            assert (values["student_id"], values["staff_id"]) == (key, teacher)
        assert (await dispatched_values(desk.store, connector, SCHOOL, desk.mark()))["student_id"] == key


async def test_a_new_number_of_a_pupil_is_the_one_that_is_sent(desk: Desk) -> None:
    change = desk.stored.change(truth(desk, k.KIND_STUDENT, 1))
    await desk.stored.put_changes([change._replace(keys=(*change.keys, '["world/student",1001]'))])
    values = await dispatched_values(desk.store, writing_connector(), SCHOOL, desk.mark())
    assert values["student_id"] == source_key("world/student", 1001)


async def test_a_merged_pupil_means_the_one_who_lives_on(desk: Desk) -> None:
    """As with Query. What is sent is the survivor's own key, what it is about is the survivor, and what still
    refers to the one who went counts. Seen to fail where the redirect is not followed.
    """
    await desk.merge(2, 1)
    gone = desk.stored.id_of(k.KIND_STUDENT, 2)
    write = (await desk.submit(desk.mark(student_id=gone))).write
    entry = await desk.store.writes.get(SCHOOL, write.write_id)
    other = await desk.store.writes.get(SCHOOL, (await desk.submit(desk.mark(code="N"))).write.write_id)
    assert (entry.student_id, entry.slot) == (desk.pupil, other.slot)
    assert entry.position < other.position
    values = await dispatched_values(desk.store, writing_connector(), SCHOOL, write.operation)
    assert values["student_id"] == source_key("world/student", 1)


async def test_who_has_gone_is_not_sent_and_still_looked_for(desk: Desk) -> None:
    """What became of a write that had left is asked by the same keys. Seen to fail where that is refused."""
    await desk.stored.put([truth(desk, k.KIND_STUDENT, 1)], TOMBSTONE_REASON_LEFT)
    asked = desk.store, writing_connector(), SCHOOL, desk.mark()
    with pytest.raises(ReferenceLost, match="student_id"):
        await dispatched_values(*asked)
    values = await dispatched_values(*asked, may_have_gone=True)
    assert values["student_id"] == source_key("world/student", 1)
    entry = new_write(school=SCHOOL, operation=desk.mark())
    values_of = ledger_values(desk.store)
    assert await values_of(asked[1], entry, may_have_gone=True) == values
    with pytest.raises(ServiceError) as refused:
        await values_of(asked[1], entry)
    assert refused.value.reason == r.ERROR_REASON_REQUEST_INVALID


def test_the_day_of_these_tests_is_in_term() -> None:
    assert date(2026, 9, 14).isoweekday() == 1
