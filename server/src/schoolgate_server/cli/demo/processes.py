"""The demo's processes: started together, watched while they begin, and stopped whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from schoolgate_server.cli.failures import CommandFailed

_Found = TypeVar("_Found")

_STOP_SECONDS = 20.0
"""How long a process may take to stop by itself: a server ends its runs and its MongoDB first."""
_POLL_SECONDS = 0.05
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the demo: its name for people, and the file that takes its output."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stdout: Path

    def check(self) -> None:
        """Raise CommandFailed, with the end of its output, if the process has ended."""
        status = self.process.poll()
        if status is None:
            return
        raise CommandFailed(f"{self.name} ended with status {status}:\n{self._tail()}", f"see {self.log}")

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])

    def wait_for(self, found: Callable[[str], _Found | None], seconds: float) -> _Found:
        """Return what ``found`` finds in the process's standard output, as soon as it finds something.

        Raises:
            CommandFailed: the process ended, or was not ready in time; the message has the end of its log.
        """
        deadline = time.perf_counter() + seconds
        while (result := found(self.stdout.read_text())) is None:
            self.check()
            if time.perf_counter() > deadline:
                raise CommandFailed(
                    f"{self.name} was not ready within {seconds:.0f} s:\n{self._tail()}", f"see {self.log}"
                )
            time.sleep(_POLL_SECONDS)
        return result


@contextmanager
def child(
    name: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Generator[Child]:
    """Run `schoolgate ARGUMENTS` in ``folder`` while the context lasts; then stop it and what it started.

    The process leads a session of its own, so that a Ctrl-C at the terminal reaches the demo alone, which
    then stops the processes in their order. Settings of the shell do not reach it.
    """
    log, stdout = folder / f"{name}.log", folder / f"{name}.out"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SCHOOLGATE_")}
    with log.open("wb") as errors, stdout.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "schoolgate_server.cli", *arguments],
            cwd=folder,
            env={**inherited, **environment, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield Child(name, process, log, stdout)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass  # the group is killed below
    finally:
        # Also when a second Ctrl-C cuts the waiting short: the process, and whatever it left in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def orderly_end() -> Generator[Callable[[], None]]:
    """While the context lasts, SIGINT, SIGTERM and SIGHUP end the demo with its processes.

    Each raises KeyboardInterrupt at that moment, which may be one where somebody passes over it: a callback
    of a library, or a destructor. The context gives a function that raises it again if one came, to be
    called between steps; the end of the context calls it too.

    Raises:
        KeyboardInterrupt: one of the signals came.
    """
    came: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    def look() -> None:
        if came:
            raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield look
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    look()
