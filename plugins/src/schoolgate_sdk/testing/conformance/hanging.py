"""Breaking off what never gives way: a loop in a connector's own code, which no timeout of asyncio ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

_AGAIN: float = 1.0
"""Seconds until it is tried again, where somebody caught it."""


class Hangs(BaseException):
    """Raised in the midst of what hangs; no ``Exception``, so that it is not caught as one of many."""


@contextmanager
def broken_off(seconds: float) -> Generator[None]:
    """Raise :class:`Hangs` in the block once it has taken so long.

    Only the main thread can be broken off, by a signal that not every system has, and only one can wait for
    it: where another timer runs, that of a test say, the block is left to it.
    """
    can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not can or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def break_off(*_: object) -> None:
        raise Hangs(
            f"nothing else could run for {seconds:g} s: a loop that does not end, or a wait that blocks"
        )

    before = signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
