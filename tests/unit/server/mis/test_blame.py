"""Whatever a connector raises is its own, and nobody waits for it for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from schoolgate_sdk import Incomplete, Transient, source_key
from schoolgate_sdk.testing.lying import hang, hang_on
from schoolgate_server.mis.asking import asked_back, counted
from schoolgate_server.mis.blame import ConnectorDefect, ContractBroken, ask, connector_at_work

LONG = timedelta(seconds=60)
SHORT = timedelta(seconds=0.05)


async def raising(error: BaseException) -> None:
    raise error


DEFECTS = [RuntimeError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: type(error).__name__)
async def test_g18_a_defect_is_one_whatever_it_is(error: BaseException) -> None:
    """Seen to fail, and to end the test run, where only ``Exception`` is caught."""
    with pytest.raises(ConnectorDefect) as raised:
        await ask(raising(error), LONG, "it")
    assert type(raised.value.defect) is type(error)


async def test_errors_on_purpose_pass() -> None:
    with pytest.raises(Transient, match="HTTP 502"):
        await ask(raising(Transient("HTTP 502")), LONG, "it")


async def test_g18_a_connector_that_cancels_its_own_task_does_not_cancel_the_run() -> None:
    """Seen to fail where the answer is awaited in the caller's own task."""

    async def cancel_myself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(ConnectorDefect):
        await ask(cancel_myself(), LONG, "it")


@pytest.mark.parametrize("silence", [hang, hang_on])
async def test_g18_silence_is_transient(silence: Any) -> None:
    """Seen to fail, and to hang, without the limit, and without an end to cancelling."""
    with pytest.raises(Transient, match=r"it took longer than 0\.05 s"):
        await asyncio.wait_for(ask(silence(), SHORT, "it"), 30)


async def test_a_cancellation_of_ours_stays_one() -> None:
    """Seen to fail where every cancellation is the connector's defect."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await hang()

    async def outer() -> None:
        with connector_at_work():
            await ask(work(), LONG, "it")

    task = asyncio.create_task(outer())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_call_that_raises_a_cancellation_is_a_defect_too() -> None:
    """Seen to fail where a cancellation always passes: a run that nobody cancelled would never end."""

    async def call() -> None:
        with pytest.raises(ConnectorDefect), connector_at_work():
            raise asyncio.CancelledError

    asyncio.run(call())


async def test_g18_what_ignores_every_cancellation_is_left_alone() -> None:
    """Seen to fail, and to hang, where it is cancelled until it ends."""
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    try:
        with pytest.raises(Transient):
            await asyncio.wait_for(ask(stubborn(), SHORT, "it"), 30)
    finally:
        released.set()


class Answering:
    """A session that answers with whatever it was given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def count(self, scope: Any) -> Any:
        return self._answer

    async def read_back(self, scope: Any, keys: Any) -> Any:
        return self._answer


@pytest.mark.parametrize("answer", ["7", -1, 1 << 63, True, 7.0])
async def test_g18_what_is_no_count_breaks_the_contract(answer: Any) -> None:
    with pytest.raises(ContractBroken, match="a number of rows is an integer"):
        await counted(Answering(answer), None, LONG)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [0, 7, None])
async def test_a_count_is_taken(answer: Any) -> None:
    assert await counted(Answering(answer), None, LONG) == answer  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [None, 7, {}, iter(dict[str, str], None)])
async def test_g18_what_is_no_list_of_rows_breaks_the_contract(answer: Any) -> None:
    with pytest.raises(ContractBroken, match="rows come as a list"):
        await asked_back(Answering(answer), None, [], LONG)  # type: ignore[arg-type]


async def test_g18_more_rows_than_the_keys_can_have_say_nothing_of_any() -> None:
    """Seen to fail without the bound."""
    rows, keys = [{"id": 1}] * 11, [source_key("lying/students", 1)]
    with pytest.raises(Incomplete, match="asked for 1 single entities, the connector gave 11 rows"):
        await asked_back(Answering(rows), None, keys, LONG)  # type: ignore[arg-type]
    assert len(await asked_back(Answering(rows[:10]), None, keys, LONG)) == 10  # type: ignore[arg-type]
