"""Writing behaviour events: one effect, whatever becomes of the answer, and the truth about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import orjson
import pytest

from schoolgate_bromcom.session import BromcomSession
from schoolgate_sdk import (
    ConnectorError,
    Departure,
    EntityDenied,
    FindWrite,
    Incomplete,
    SourceKey,
    Transient,
    Unsupported,
    WriteReceipt,
    WriteRequest,
    WriteRows,
    WriteSafety,
    WriteStopped,
    WriteValue,
)
from tests.contract.bromcom.conftest import CONNECTOR, Mis, read_all

OPERATION = next(each for each in CONNECTOR.writes if each.name == "record_behaviour_event")
VALUES: Mapping[str, WriteValue] = {
    "student_id": SourceKey("bromcom/student", (7,)),
    "type_code": "5",
    "occurred_at": "2026-09-15T10:05:00+01:00",
    "staff_id": SourceKey("bromcom/staff", (3,)),
    "points": -2,
    "comment": 'Said "no" <twice> – O\'Brien',
}


def _request(**changes: WriteValue) -> WriteRequest:
    return WriteRequest("record_behaviour_event", "key-1", {**VALUES, **changes})


def _receipt(number: int) -> WriteReceipt:
    key = SourceKey("bromcom/behaviour_event_record", (number,))
    return WriteReceipt((str(number),), keys=(key,))


def _written(mis: Mis) -> list[int]:
    """Return the numbers of the pupil's events of that minute."""
    at = datetime.fromisoformat("2026-09-15T10:05")
    events = mis.world.behaviour.values()
    return [event.number for event in events if (event.pupil, event.occurred_at) == (7, at)]


async def test_an_event_is_written_once_and_read_as_it_was_written(mis: Mis) -> None:
    session = await mis.session()
    assert isinstance(session, WriteRows)
    assert isinstance(session, FindWrite)
    assert await session.write(_request()) == WriteReceipt()
    [number] = _written(mis)
    event = mis.world.behaviour[number]
    assert (event.event_type, event.staff, event.points, event.comment) == (5, 3, -2, VALUES["comment"])
    assert await session.find_write(_request(), None) == _receipt(number)
    rows, _ = await read_all(session, "behaviour_events")
    [row] = [row for row in rows if row["eventRecordId"] == number]
    [parsed] = CONNECTOR.dataset("behaviour_events").parser(row, mis.settings)
    assert parsed.key == SourceKey("bromcom/behaviour_event_record", (number,))
    assert str(parsed.message).splitlines()[1:3] == ['occurred_at: "2026-09-15T10:05:00"', "points: -2"]


async def test_g19_a_write_is_shown_as_it_leaves_and_one_that_is_stopped_does_not(mis: Mis) -> None:
    """Seen to fail with a client that does not pass ``leaving`` on."""
    assert OPERATION.announces
    session = await mis.session()
    told: list[Departure] = []

    def stop(departure: Departure) -> None:
        told.append(departure)
        raise WriteStopped("the policy is off")

    with pytest.raises(WriteStopped):
        await session.write(replace(_request(), leaving=stop))
    assert (_written(mis), mis.requests()) == ([], 0)

    await session.write(replace(_request(), leaving=told.append))
    assert told[0] == told[1]
    assert told[0].target == "POST BehaviourEventRecords"
    assert orjson.loads(told[0].body)["comment"] == VALUES["comment"]
    assert not any(secret in told[0].body for secret in mis.credentials.values())
    assert len(_written(mis)) == 1


@pytest.mark.parametrize("kind", ["error_after_effect", "false_after_effect", "lost_answer"])
async def test_an_answer_that_is_lost_is_unknown_and_its_effect_is_found(mis: Mis, kind: str) -> None:
    session = await mis.session()
    mis.fault(kind=kind)
    with pytest.raises(Transient):
        await session.write(_request())
    [number] = _written(mis)
    assert await session.find_write(_request(), None) == _receipt(number)


async def test_what_had_no_effect_is_found_not_to_have_happened(mis: Mis) -> None:
    session = await mis.session()
    mis.fault(kind="error_before_effect")
    with pytest.raises(Transient):
        await session.write(_request())
    assert _written(mis) == []
    assert await session.find_write(_request(), None) is None


async def test_an_effect_that_came_twice_stops_for_a_person(mis: Mis) -> None:
    session = await mis.session()
    mis.fault(kind="duplicate_effect")
    await session.write(_request())
    assert len(_written(mis)) == 2
    with pytest.raises(Incomplete, match="several events"):
        await session.find_write(_request(), None)


@pytest.mark.parametrize(
    ("column", "value"),
    [("occurred_at", "2026-09-15T11:05:00+01:00"), ("points", -4), ("comment", "Else"), ("comment", None)],
)
async def test_an_event_that_is_alike_is_neither_taken_for_it_nor_passed_over(
    mis: Mis, column: str, value: WriteValue
) -> None:
    """It may be ours by another clock, or changed since: sending again could make two of one."""
    session = await mis.session()
    await session.write(_request(**{column: value}))
    with pytest.raises(Incomplete, match="may be it"):
        await session.find_write(_request(), None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("occurred_at", "2026-09-15T10:25:00+01:00"),
        ("type_code", "4"),
        ("student_id", SourceKey("bromcom/student", (8,))),
    ],
)
async def test_another_event_is_another(mis: Mis, column: str, value: WriteValue) -> None:
    session = await mis.session()
    await session.write(_request(**{column: value}))
    assert await session.find_write(_request(), None) is None


async def test_a_truncated_page_does_not_prove_that_nothing_happened(mis: Mis) -> None:
    session = await mis.session()
    await session.write(_request())
    mis.fault(kind="truncate_page", entity="BehaviourEventRecords", page=0, keep=0)
    with pytest.raises(Transient, match="do not agree"):
        await session.find_write(_request(), None)


async def test_without_a_write_licence_it_is_refused(mis: Mis) -> None:
    mis.school.may_be_written = False
    session = await mis.session()
    with pytest.raises(EntityDenied):
        await session.write(_request())
    assert _written(mis) == []


async def test_what_bromcom_refuses_is_known_to_be_refused(mis: Mis) -> None:
    session = await mis.session()
    with pytest.raises(ConnectorError) as refused:
        await session.write(_request(student_id=SourceKey("bromcom/student", (999_999,))))
    assert not isinstance(refused.value, Transient)
    assert "O'Brien" not in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("student_id", SourceKey("bromcom/person", (7,)), "student_id must be a key of bromcom/student"),
        ("student_id", "7", "student_id must be a key"),
        ("staff_id", SourceKey("bromcom/staff", (2**40,)), "staff_id must be a key"),
        ("type_code", "detention", "type_code must be the number"),
        ("type_code", "0", "type_code must be the number"),
        ("occurred_at", "2026-09-15T10:05:00", "with an offset"),
        ("occurred_at", "soon", "with an offset"),
        ("points", True, "points must be a number"),
        ("points", 2**40, "points must be a number"),
        ("comment", 5, "comment must be a text"),
    ],
)
async def test_what_cannot_be_written_is_not_sent(
    mis: Mis, column: str, value: WriteValue, problem: str
) -> None:
    session = await mis.session()
    before = mis.requests()
    with pytest.raises(Unsupported, match=problem):
        await session.write(_request(**{column: value}))
    assert mis.requests() == before


async def test_an_owner_is_not_written_on_a_guess(mis: Mis) -> None:
    session = await mis.session(owner_id_is_staff_id="no")
    with pytest.raises(Unsupported, match="owner_id_is_staff_id"):
        await session.write(_request())


async def test_no_attendance_is_written(mis: Mis) -> None:
    """None is public."""
    session: BromcomSession = await mis.session()
    with pytest.raises(Unsupported, match="cannot write record_attendance_mark"):
        await session.write(WriteRequest("record_attendance_mark", "key-2"))
    names = [operation.name for operation in CONNECTOR.writes]
    assert names == ["record_behaviour_event", "record_assessment_result"]
    assert OPERATION.safety is WriteSafety.NATURAL_KEY_READBACK


async def test_a_write_is_sent_once_though_reads_are_tried_again(mis: Mis) -> None:
    session = await mis.session(read_attempts="5")
    mis.fault(kind="error_before_effect", times=None)
    before = mis.requests()
    with pytest.raises(Transient):
        await session.write(_request())
    assert mis.requests() == before + 1


async def test_of_two_that_are_the_same_the_one_whose_id_was_told_is_it(mis: Mis) -> None:
    session = await mis.session()
    mis.fault(kind="duplicate_effect")
    await session.write(_request())
    first, second = _written(mis)
    for number in (first, second):
        told = _receipt(number)
        assert await session.find_write(_request(), told) == told


async def test_g11_an_event_whose_id_was_told_had_its_effect_whatever_became_of_it(mis: Mis) -> None:
    """Seen to fail where only what is as it was written counted: it was to be sent again."""
    session = await mis.session()
    await session.write(_request())
    [number] = _written(mis)
    told = _receipt(number)
    assert await session.find_write(_request(type_code="4"), told) == told  # its type was corrected since
    mis.world.delete_behaviour(number)
    with pytest.raises(Incomplete, match="told"):
        await session.find_write(_request(), told)


async def test_g11_where_the_pupil_is_hidden_it_is_not_said_that_nothing_happened(mis: Mis) -> None:
    """Consent may be withdrawn after the answer was lost. Seen to fail: it was to be sent again."""
    session = await mis.session()
    await session.write(_request())
    mis.world.withdraw_consent(7)
    with pytest.raises(Incomplete, match="does not show the pupil"):
        await session.find_write(_request(), None)
