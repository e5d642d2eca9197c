"""Writes through Wonde: taken at once, in effect later, and found by what was written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from schoolgate_sdk import (
    Departure,
    Incomplete,
    SourceKey,
    Transient,
    Unsupported,
    WriteReceipt,
    WriteRequest,
    WriteStopped,
)
from schoolgate_wonde.client import FieldErrors
from schoolgate_wonde.plugin import WondeSession
from tests.contract.wonde.conftest import Wonde, serving

DELAY = 30.0
PUPIL = 3
STUDENT = SourceKey("wonde/student", (f"A{1_000_000_000 + PUPIL}",))


@pytest.fixture
async def later() -> AsyncGenerator[Wonde]:
    async with serving(write_delay=DELAY) as found:
        yield found


def mark(wonde: Wonde, **changed: Any) -> WriteRequest:
    values: dict[str, Any] = {
        "student_id": STUDENT,
        "date": "2026-09-07",
        "session": "AM",
        "code": "L",
        "comment": "Bus was late",
    }
    return WriteRequest("record_attendance_mark", "key-1", values | changed, wonde.clock())


def event(wonde: Wonde, points: int) -> WriteRequest:
    values: dict[str, Any] = {
        "student_id": STUDENT,
        "type_code": "1",
        "occurred_at": "2026-09-08T10:20:00+01:00",
        "staff_id": SourceKey("wonde/employee", ("A1100000001",)),
        "points": points,
        "comment": "Carried chairs",
    }
    return WriteRequest("record_behaviour_event", "key-2", values, wonde.clock())


def code_of(wonde: Wonde) -> str:
    return next(m.code for m in wonde.world.marks(pupils=[PUPIL]) if f"{m.date}" == "2026-09-07")


async def test_a_write_is_pending_until_it_is_shown(later: Wonde) -> None:
    before = code_of(later)
    async with later.session() as session:
        receipt = await session.write(mark(later))
        assert receipt.pending
        assert not receipt.mis_ids
        assert await session.find_write(mark(later), receipt) == receipt
        assert code_of(later) == before
        request = mark(later)
        later.clock.put_on(seconds=DELAY)
        found = await session.find_write(request, receipt)
    assert found is not None
    assert found.pending is None
    assert len(found.mis_ids) == 1
    assert found.keys == (SourceKey("wonde/attendance", ("attendance/session", *found.mis_ids)),)
    assert receipt.response == f'{{"writeback_id":"{receipt.pending}"}}'
    assert code_of(later) == "L"


async def test_g19_a_write_is_shown_as_it_leaves_and_one_that_is_stopped_does_not(wonde: Wonde) -> None:
    """What has to be read for it is read before. Seen to fail with a client that does not pass ``leaving``
    on, and with the codes read after asking.
    """
    told: list[tuple[Departure, int]] = []
    log = wonde.api.log

    def stop(departure: Departure) -> None:
        told.append((departure, log.total))
        raise WriteStopped("the policy is off")

    before = code_of(wonde)
    async with wonde.session(behaviour_writes="yes") as session:
        for request in (mark(wonde), event(wonde, 2), event(wonde, -2)):
            with pytest.raises(WriteStopped):
                await session.write(replace(request, leaving=stop))
            assert told[-1][1] == log.total
    assert log.as_json()["resources"] == {"attendance-codes": log.total}
    assert code_of(wonde) == before
    assert [departure.target for departure, _ in told] == [
        "POST attendance/session",
        "POST achievements",
        "POST behaviours",
    ]
    assert '"comment":"Bus was late"' in told[0][0].body


async def test_who_takes_the_register_of_a_session_is_told(wonde: Wonde) -> None:
    """Seen to fail with a form that leaves it out."""
    told: list[Departure] = []
    teacher = SourceKey("wonde/employee", ("A1100000001",))
    async with wonde.session() as session:
        for request in (mark(wonde, staff_id=teacher), mark(wonde)):
            await session.write(replace(request, leaving=told.append))
        nobody = SourceKey("wonde/employee", ("A1199999999",))
        with pytest.raises(FieldErrors, match="employee_id"):
            await session.write(mark(wonde, staff_id=nobody))
    assert ['"employee_id":"A1100000001"' in one.body for one in told] == [True, False]
    assert "employee_id" not in told[1].body


async def lose(wonde: Wonde, session: WondeSession, request: WriteRequest, fault: str) -> None:
    """Send a write whose outcome cannot be known from its answer."""
    wonde.fault(fault, entity="attendance/session")
    with pytest.raises(Transient):
        await session.write(request)


async def test_g11_a_lost_answer_is_unknown_until_wonde_has_had_its_time(later: Wonde) -> None:
    """Seen to fail with a ``find_write`` that says at once that what is not shown did not happen."""
    request = mark(later)
    async with later.session(writeback_settles_seconds="60") as session:
        await lose(later, session, request, "error_after_effect")
        with pytest.raises(Transient, match="still be on its way"):
            await session.find_write(request, None)
        later.clock.put_on(seconds=DELAY)
        assert isinstance(await session.find_write(request, None), WriteReceipt)


async def test_g11_what_is_not_shown_after_that_did_not_happen(later: Wonde) -> None:
    request = mark(later)
    async with later.session(writeback_settles_seconds="60") as session:
        await lose(later, session, request, "error_before_effect")
        later.clock.put_on(seconds=61)
        assert await session.find_write(request, None) is None
        with pytest.raises(Transient):
            await session.find_write(replace(request, not_before=None), None)


async def test_g11_that_nothing_happened_is_not_concluded_from_a_page_that_comes_twice(later: Wonde) -> None:
    """Seen to fail where only the numbers of pages were looked at: it was not found, and sent again."""
    request = mark(later)
    async with later.session(writeback_settles_seconds="60") as session:
        await lose(later, session, request, "error_after_effect")
        later.clock.put_on(seconds=61)
        long_ago = replace(request, not_before=later.clock() - timedelta(days=40))
        later.fault("loop_page", entity="attendance/session", page=0, times=None)
        with pytest.raises(Incomplete):
            await session.find_write(long_ago, None)


async def test_g16_field_errors_name_fields_and_no_values(wonde: Wonde) -> None:
    nobody = SourceKey("wonde/student", ("A1099999999",))
    async with wonde.session() as session:
        with pytest.raises(FieldErrors, match="student_id") as refused:
            await session.write(mark(wonde, student_id=nobody))
    assert refused.value.fields == ("student_id",)
    assert "A1099999999" not in str(refused.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"session": "LESSON"},
        {"session": "AM", "period_name": "Mon1 P2"},
        {"date": "07/09/2026"},
        {"code": "no such code"},
        {"student_id": SourceKey("bromcom/student", (3,))},
        {"minutes_late": -1},
        {"staff_id": STUDENT},
        {"comment": 7},
    ],
)
async def test_what_cannot_be_written_is_not_sent(wonde: Wonde, changed: dict[str, Any]) -> None:
    async with wonde.session() as session:
        with pytest.raises(Unsupported):
            await session.write(mark(wonde, **changed))
    log: Any = wonde.api.log.as_json()
    assert all(entry["method"] == "GET" for entry in log["latest"])


async def test_behaviours_are_written_only_where_the_school_says_so(wonde: Wonde) -> None:
    async with wonde.session() as session:
        with pytest.raises(Unsupported, match="behaviour_writes"):
            await session.write(event(wonde, 2))
    assert wonde.api.log.total == 0


@pytest.mark.parametrize(("points", "resource"), [(2, "achievements"), (-2, "behaviours")])
async def test_points_say_whether_it_is_a_behaviour_or_an_achievement(
    wonde: Wonde, points: int, resource: str
) -> None:
    before = set(wonde.world.behaviour)
    async with wonde.session(behaviour_writes="yes") as session:
        request = event(wonde, points)
        receipt = await session.write(request)
        found = await session.find_write(request, receipt)
        assert found is not None
        assert found.mis_ids
        [number] = set(wonde.world.behaviour) - before
    assert wonde.world.behaviour[number].points == points
    log: Any = wonde.api.log.as_json()
    assert [e["resource"] for e in log["latest"] if e["method"] == "POST"] == [resource]


async def test_several_that_are_the_same_are_not_told_apart(wonde: Wonde) -> None:
    async with wonde.session(behaviour_writes="yes") as session:
        request = event(wonde, 2)
        await session.write(request)
        first = await session.find_write(request, None)
        await session.write(request)
        with pytest.raises(Incomplete):
            await session.find_write(request, None)
        assert first is not None
        assert await session.find_write(request, first) == first


async def test_g11_a_mark_that_somebody_changed_since_is_not_taken_for_none_of_ours(later: Wonde) -> None:
    """Seen to fail where only an equal mark counted: ours would have been sent again over the teacher's."""
    request = mark(later)
    async with later.session(writeback_settles_seconds="60") as session:
        await lose(later, session, request, "error_after_effect")
        later.clock.put_on(seconds=DELAY)
        later.school.settle()
        later.world.correct_mark(PUPIL, date(2026, 9, 7), "AM", "I")
        later.clock.put_on(seconds=61)
        with pytest.raises(Incomplete):
            await session.find_write(request, None)


async def test_g11_an_event_that_somebody_corrected_since_is_not_taken_for_none_of_ours(
    later: Wonde,
) -> None:
    """Seen to fail as the one before."""
    request = event(later, 2)
    before = set(later.world.behaviour)
    async with later.session(writeback_settles_seconds="60", behaviour_writes="yes") as session:
        later.fault("error_after_effect", entity="achievements")
        with pytest.raises(Transient):
            await session.write(request)
        later.clock.put_on(seconds=DELAY)
        later.school.settle()
        [number] = set(later.world.behaviour) - before
        later.world.correct_behaviour(number, points=1)
        later.clock.put_on(seconds=61)
        with pytest.raises(Incomplete):
            await session.find_write(request, None)


async def test_g11_what_was_found_before_and_is_gone_had_its_effect(wonde: Wonde) -> None:
    """Seen to fail where what is not shown did not happen, whatever the receipt says."""
    async with wonde.session(behaviour_writes="yes") as session:
        request = event(wonde, 2)
        before = set(wonde.world.behaviour)
        await session.write(request)
        found = await session.find_write(request, None)
        [number] = set(wonde.world.behaviour) - before
        wonde.world.delete_behaviour(number)
        wonde.clock.put_on(days=2)
        with pytest.raises(Incomplete):
            await session.find_write(request, found)


async def test_g11_pages_that_are_cut_short_do_not_prove_that_nothing_happened(later: Wonde) -> None:
    """Seen to fail with a single read: its last page was looked at twice, and cut both times."""
    later.school.rows("attendance/session")  # Wonde knows when they were made
    request = mark(later)
    async with later.session(writeback_settles_seconds="60") as session:
        await lose(later, session, request, "error_after_effect")
        later.clock.put_on(seconds=61)
        later.fault("truncate_page", entity="attendance/session", page=0, keep=0, times=2)
        with pytest.raises(Transient, match="do not agree"):
            await session.find_write(request, None)
        assert isinstance(await session.find_write(request, None), WriteReceipt)


async def test_g11_where_the_pupil_is_hidden_it_is_not_said_that_nothing_happened(later: Wonde) -> None:
    """Consent may be withdrawn after the answer was lost. Seen to fail: it was to be sent again."""
    later.school.rows("attendance/session")
    request = mark(later)
    async with later.session(writeback_settles_seconds="60") as session:
        await lose(later, session, request, "error_after_effect")
        later.clock.put_on(seconds=DELAY)
        later.school.settle()
        later.world.withdraw_consent(PUPIL)
        later.clock.put_on(seconds=61)
        with pytest.raises(Incomplete, match="does not show the pupil"):
            await session.find_write(request, None)
