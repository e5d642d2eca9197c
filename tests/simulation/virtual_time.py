"""A loop whose time is counted and not measured: a sleep costs nothing, and a seed is one history."""

from __future__ import annotations

import asyncio
import gc
import itertools
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)


class NothingLeftToDo(Exception):
    """Every task waits for another one, and no timer is set."""


class _Selector(selectors.SelectSelector):
    """Moves time on where a real one would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return []  # nobody else calls: there are no threads and no sockets
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingLeftToDo
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``func`` at once: a thread would end when it likes."""
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - the caller's to handle
            done.set_exception(error)
        return done


def run_virtually(work: Callable[[], Any]) -> Any:
    """Run the coroutine that ``work`` makes in a loop of its own."""
    collecting = gc.isenabled()
    gc.disable()  # when it would run is no matter of the seed
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(work())
    finally:
        if collecting:
            gc.enable()


class VirtualClock:
    """The loop's time as the engine's clock; one millisecond later at every look, so that moments differ."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def __call__(self) -> datetime:
        passed = asyncio.get_running_loop().time() + next(self._looks) / 1000
        return START + timedelta(seconds=passed)
