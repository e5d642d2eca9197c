"""The MIS for writes keeps what it says, and makes every fault: what else would its tests show?"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schoolgate_sdk import (
    Departure,
    Incomplete,
    RateLimited,
    SchoolConnection,
    Scope,
    Transient,
    Unsupported,
    WriteReceipt,
    WriteRequest,
    WriteRows,
    WriteValue,
    source_key,
)
from tests.support.processes import wait_until
from tests.support.write_mis import faults
from tests.support.write_mis.connector import OPERATIONS, schoolgate_connector
from tests.support.write_mis.faults import Odds
from tests.support.write_mis.process import WriteMisProcess, write_mis

VALUES: dict[str, dict[str, WriteValue]] = {
    "record_attendance_mark": {"date": "2026-11-02", "session": "AM", "code": "/"},
    "record_assessment_result": {"assessment_name": "Reading", "result": "7", "date": "2026-11-02"},
    "record_behaviour_event": {"type_code": "P1", "occurred_at": "2026-11-02T09:00:00+00:00", "points": 1},
    "record_intervention_note": {"type_code": "N", "date": "2026-11-02", "note": "Read with Robin."},
}
MARK, RESULT, EVENT, NOTE = VALUES


def asked(operation: str, key: str, **values: WriteValue) -> WriteRequest:
    people = {"student_id": source_key("ledgermis/student", 1), "staff_id": source_key("ledgermis/staff", 1)}
    return WriteRequest(operation, key, {**people, **VALUES[operation], **values})


@asynccontextmanager
async def session(mis: WriteMisProcess) -> AsyncGenerator[Any]:
    connector = schoolgate_connector()
    settings = {"url": mis.url, "timeout_seconds": "0.5"}
    async with connector.open(SchoolConnection("oak", settings, lambda: datetime.now(UTC))) as opened:
        yield opened


async def attempt(opened: WriteRows, request: WriteRequest) -> WriteReceipt | None:
    """Return the receipt, or ``None`` where nobody knows."""
    try:
        return await opened.write(request)
    except Transient:
        return None


async def test_what_was_written_outlives_the_mis(tmp_path: Path) -> None:
    with write_mis(tmp_path) as mis:
        async with session(mis) as opened:
            for operation in VALUES:
                await opened.write(asked(operation, operation))
    with write_mis(tmp_path) as mis:
        assert mis.effects() == dict.fromkeys(VALUES, 1)
        async with session(mis) as opened:
            for operation in (MARK, RESULT, EVENT):
                found = await opened.find_write(asked(operation, operation), None)
                assert len(found.mis_ids) == len(found.keys) == 1
                other = asked(operation, "other", **({"type_code": "P2"} if operation == EVENT else {}))
                assert await opened.find_write(other, None) is None
            with pytest.raises(Unsupported):
                await opened.find_write(asked(NOTE, NOTE), None)


async def test_only_a_heeded_key_keeps_a_second_request_from_its_effect(tmp_path: Path) -> None:
    with write_mis(tmp_path) as mis:
        async with session(mis) as opened:
            for operation in VALUES:
                first, second = [await opened.write(asked(operation, operation)) for _ in range(2)]
                assert (first == second) is (operation == MARK)
            for operation in (RESULT, EVENT):
                with pytest.raises(Incomplete):
                    await opened.find_write(asked(operation, operation), None)
        assert mis.effects() == {**dict.fromkeys(VALUES, 2), MARK: 1}


@pytest.mark.parametrize(
    ("fault", "answered", "effects"),
    [
        (faults.BEFORE, False, 0),
        (faults.AFTER, False, 1),
        (faults.DROPPED, False, 1),
        (faults.DROPPED_BEFORE, False, 0),
        (faults.HELD, False, 1),
        (faults.ASYNCHRONOUS, True, 1),
        (faults.SLOW, True, 1),
        (faults.EXITS, False, 0),
        (faults.EXITS_AFTER, False, 1),
    ],
)
async def test_each_fault_is_what_it_is_called(
    fault: str, answered: bool, effects: int, tmp_path: Path
) -> None:
    odds = Odds(of={fault: 1.0}, held=(0.6, 0.7), delay=(0.2, 0.3), most=1)
    with write_mis(tmp_path, odds=odds) as mis:
        async with session(mis) as opened:
            for operation in VALUES:
                receipt = await attempt(opened, asked(operation, operation))
                assert (receipt is not None) is answered
                if fault == faults.ASYNCHRONOUS:
                    assert mis.effects()[operation] == 0
                    assert receipt is not None
                    assert (receipt.pending is None) is (operation == NOTE)
                if fault in {faults.EXITS, faults.EXITS_AFTER}:
                    await asyncio.to_thread(wait_until, lambda: _answers(mis), "it is back")
            expected = dict.fromkeys(VALUES, effects) if effects else {}
            await asyncio.to_thread(wait_until, lambda: mis.effects() == expected, "it has done all")
        assert {line["fault"] for line in mis.faults()} == {fault}
        assert len(mis.faults()) == len(VALUES)


async def test_a_busy_mis_says_until_when_and_does_nothing(tmp_path: Path) -> None:
    with write_mis(tmp_path, odds=Odds(of={faults.BUSY: 1.0}, most=1)) as mis:
        async with session(mis) as opened:
            with pytest.raises(RateLimited) as refused:
                await opened.write(asked(MARK, "k"))
            assert refused.value.until is not None
        assert not mis.effects()


async def test_a_promise_outlives_the_mis(tmp_path: Path) -> None:
    odds = Odds(of={faults.ASYNCHRONOUS: 1.0}, delay=(1.0, 1.0), most=1)
    with write_mis(tmp_path, odds=odds) as mis:
        async with session(mis) as opened:
            receipt = await opened.write(asked(RESULT, "k"))
        assert not mis.effects()
    with write_mis(tmp_path) as mis:
        async with session(mis) as opened:
            request = asked(RESULT, "k")
            await asyncio.to_thread(wait_until, lambda: mis.effects() == {"k": 1}, "it is done")
            assert (await opened.find_write(request, receipt)).pending is None


async def test_nothing_leaves_where_the_gate_is_shut(tmp_path: Path) -> None:
    def shut(departure: Departure) -> None:
        assert (departure.target, '"pupil":1' in departure.body) == ("POST events", True)
        raise InterruptedError

    with write_mis(tmp_path) as mis:
        async with session(mis) as opened:
            request = WriteRequest(EVENT, "k", asked(EVENT, "k").values, leaving=shut)
            with pytest.raises(InterruptedError):
                await opened.write(request)
        assert not mis.effects()


async def test_what_was_written_can_be_read(tmp_path: Path) -> None:
    connector = schoolgate_connector()
    assert {operation.name for operation in connector.writes} == {one.name for one in OPERATIONS}
    with write_mis(tmp_path, pupils=3) as mis:
        async with session(mis) as opened:
            for operation in (MARK, RESULT, EVENT):
                receipt = await opened.write(asked(operation, operation))
                [key] = receipt.keys
                dataset = key.namespace.partition("/")[2]
                for rows in (
                    await opened.read_back(Scope(dataset, "2026/27"), [key]),
                    [row async for page in opened.read(Scope(dataset, "2026/27")) for row in page.rows],
                ):
                    [parsed] = connector.dataset(dataset).parser(rows[0], {})
                    assert parsed.key == key


def _answers(mis: WriteMisProcess) -> bool:
    try:
        urllib.request.urlopen(f"{mis.url}/students", timeout=5).close()
    except OSError:
        return False
    return True
