"""Runs of :mod:`tests.support.stepping` in processes of their own that end or stall themselves at a step.

As a program it makes one process per line that it reads, by fork, which is fast: everything is imported
already. Nothing of asyncio or of a driver exists before a fork.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, Any

from schoolgate_server.log import Redactor, configure_logging
from schoolgate_server.sync import supervisor
from tests.support.engine import TickingClock, engine_over
from tests.support.processes import kill, launch
from tests.support.stepping import NOON, OPTIONS, acts, open_store, run_to_the_end, watched_mis


@dataclass(frozen=True)
class Reached:
    """What became of a process: ``at`` is the step it came to, empty where it came to the run's end."""

    pid: int
    at: str
    killed: bool
    stalled: bool
    status: int


class StepProcesses:
    """Makes processes, one after the other. Close it at the end."""

    def __init__(self, uri: str, database: str) -> None:
        self._place = {"uri": uri, "database": database}
        self._maker = launch(
            [sys.executable, "-m", "tests.support.step_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def run(self, step: int, number: signal.Signals) -> Reached:
        """Run a process until it sends itself the signal at its ``step``-th step, counted from 1, or ends."""
        return self._ask({**self._place, "step": step, "signal": int(number)})

    def wake(self, stalled: Reached) -> Reached:
        """Let a stalled process go on to its end."""
        return self._ask({"wake": stalled.pid})

    def close(self) -> None:
        """End the maker, and with it all that it has made."""
        kill(self._maker)
        for pipe in (self._maker.stdin, self._maker.stdout):
            assert pipe is not None
            pipe.close()

    def _ask(self, request: dict[str, Any]) -> Reached:
        assert self._maker.stdin is not None
        assert self._maker.stdout is not None
        self._maker.stdin.write(json.dumps(request).encode() + b"\n")
        self._maker.stdin.flush()
        return Reached(**json.loads(self._maker.stdout.readline()))


async def _run(uri: str, database: str, last_step: int, number: int, says: int) -> None:
    steps = 0

    def look(name: str) -> None:
        nonlocal steps
        if number == signal.SIGSTOP and not acts(name):
            return  # a read changes nothing, whoever made it
        steps += 1
        if steps == last_step:
            os.write(says, name.encode())
            os.kill(os.getpid(), number)

    store = open_store(uri, database, NOON, look)
    mis, clock = watched_mis(look), TickingClock(NOON)
    async with engine_over(store, mis, options=OPTIONS, owner="server-1", clock=clock) as engine:
        await run_to_the_end(engine)
    await store.close()


def _fork(request: dict[str, Any], heard: dict[int, int]) -> int:
    """Return the id of a new process, and note where it can be heard."""
    hears, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # with its maker, even when it is stalled
        status = 1
        try:
            asyncio.run(_run(request["uri"], request["database"], request["step"], request["signal"], says))
            status = 0
        finally:
            os._exit(status)
    os.close(says)
    heard[pid] = hears
    return pid


def _serve(requests: IO[str], answers: IO[str]) -> None:
    heard: dict[int, int] = {}
    for line in requests:
        request = json.loads(line)
        if "wake" in request:
            pid = request["wake"]
            os.kill(pid, signal.SIGCONT)
        else:
            pid = _fork(request, heard)
        _, status = os.waitpid(pid, os.WUNTRACED)
        at = ""
        if pid in heard and (os.WIFSTOPPED(status) or os.WIFSIGNALED(status)):
            at = os.read(heard[pid], 1000).decode()
        answer = {
            "pid": pid,
            "at": at,
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
            "stalled": os.WIFSTOPPED(status),
            "status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
        }
        if not os.WIFSTOPPED(status):
            os.close(heard.pop(pid))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    supervisor.POLL_SECONDS = 0.05  # a process that has lost its run looks that often how the run ends
    configure_logging(Redactor(), level="ERROR", json=False)
    _serve(sys.stdin, sys.stdout)
