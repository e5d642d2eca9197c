"""Real servers in processes of their own, made by fork, which end themselves at any step of one write.

As a program it makes one server per line that it reads; everything is imported already, so one is there in a
moment. Nothing of asyncio, of gRPC or of a driver exists before a fork. A server is all of
``schoolgate serve`` but for its command line, with the connector of the MIS for writes.

A step, of a write of the school that is looked at, is the moment before or after

* its insertion into the ledger (``insert``), and each later change of it (``save`` and the new state);
* the acquisition of one of the school's leases, of writing or of the re-read that confirms (``lease``);
* the gate (``gate``), what the MIS answers to the request (``answer``), and to a question about the write
  (``find``).
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import Departure, Leaving, WriteReceipt, WriteRequest, WriteValue
from schoolgate_server import main
from schoolgate_server.log import Redactor, configure_logging
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.rpc.server import RpcServer
from schoolgate_server.settings import load_settings
from schoolgate_server.store import leases
from schoolgate_server.store.leases import Leases
from schoolgate_server.store.writes import Writes
from schoolgate_server.writeback.options import WriteOptions
from tests.support.processes import kill, launch
from tests.support.write_mis.connector import HttpDoor, LedgerSession
from tests.support.write_mis.process import environment

GRACE_SECONDS = 1.0
"""For leases: all servers have one clock here."""
ATTEMPT_SECONDS = 2.0

Look = Callable[[str], None]


@dataclass
class Serving:
    """A server's process; ``target`` is where it is reached, empty where it ended before it could be."""

    pid: int
    target: str


class ServerMaker:
    """Makes servers with ``settings`` (environment variables) over one database. Close it at the end."""

    def __init__(self, settings: Mapping[str, str], plugin: Path, log: Path) -> None:
        self._log = log.open("ab")
        child = environment() | dict(settings)
        child["PYTHONPATH"] = f"{plugin}{os.pathsep}{child['PYTHONPATH']}"
        self._lock = threading.Lock()
        self._maker = launch(
            [sys.executable, "-m", "tests.support.write_mis.servers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            environment=child,
        )

    def start(self, school: str = "", step: str = "", time: int = 1) -> Serving:
        """Start a server and return once it can be reached; it kills itself at a step of that school.

        ``step`` is its name, "before insert" say, and ``time`` the how manieth time it comes to it; without a
        step it lives.
        """
        return Serving(**self._ask({"start": {"school": school, "step": step, "time": time}}))

    def kill(self, server: Serving) -> str:
        """End a server (SIGKILL), which may have ended itself; return at which step that was."""
        at: str = self._ask({"kill": server.pid})["at"]
        return at

    def wait(self, server: Serving, seconds: float) -> str | None:
        """Wait until a server has ended itself; return the step, or ``None`` where it did not in time."""
        at: str | None = self._ask({"wait": server.pid, "seconds": seconds})["at"]
        return at

    def close(self) -> None:
        """End the maker, and with it all servers."""
        kill(self._maker)
        for pipe in (self._maker.stdin, self._maker.stdout):
            assert pipe is not None
            pipe.close()
        self._log.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._maker.stdin is not None
        assert self._maker.stdout is not None
        with self._lock:
            self._maker.stdin.write(json.dumps(request).encode() + b"\n")
            self._maker.stdin.flush()
            answer: dict[str, Any] = json.loads(self._maker.stdout.readline())
        return answer


def _watch(school: str, look: Look) -> None:
    """Have every step of a school's writes looked at, in this process."""

    def around(owner: Any, method: str, name: Callable[..., str | None]) -> None:
        real = getattr(owner, method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            step = name(*args, **kwargs)
            if step is not None:
                look(f"before {step}")
            done = await real(*args, **kwargs)
            if step is not None:
                look(f"after {step}")
            return done

        _put(owner, method, call)

    def saved(_: Writes, entry: WriteEntry, *__: object) -> str | None:
        state = pb.WriteState.Name(entry.write.state).removeprefix("WRITE_STATE_").lower()
        return f"save {state}" if entry.school_id == school else None

    def inserted(_: Writes, entry: WriteEntry, *__: object) -> str | None:
        return "insert" if entry.school_id == school else None

    def acquired(_: Leases, school_id: str, *__: object) -> str | None:
        return "lease" if school_id == school else None

    around(Writes, "save", saved)
    around(Writes, "insert", inserted)
    around(Leases, "acquire", acquired)
    _watch_the_mis(school, look)


def _watch_the_mis(school: str, look: Look) -> None:
    """Keys of writes begin with their school here."""
    post: Callable[..., Awaitable[dict[str, Any]]] = HttpDoor.post
    find: Callable[..., Awaitable[WriteReceipt | None]] = LedgerSession.find_write

    async def posts(
        door: HttpDoor,
        entity: str,
        headers: Mapping[str, str],
        body: Mapping[str, WriteValue],
        leaving: Leaving,
    ) -> dict[str, Any]:
        def gate(departure: Departure) -> None:
            look("before gate")
            leaving(departure)
            look("after gate")

        if not headers["X-Judge"].startswith(f"{school}/"):
            return await post(door, entity, headers, body, leaving)
        answer = await post(door, entity, headers, body, gate)
        look("after answer")
        return answer

    async def finds(
        session: LedgerSession, request: WriteRequest, receipt: WriteReceipt | None
    ) -> WriteReceipt | None:
        if not request.idempotency_key.startswith(f"{school}/"):
            return await find(session, request, receipt)
        look("before find")
        found = await find(session, request, receipt)
        look("after find")
        return found

    _put(HttpDoor, "post", posts)
    _put(LedgerSession, "find_write", finds)


def _put(owner: object, name: str, value: object) -> None:
    """Put another thing in the place of one, in this process."""
    setattr(owner, name, value)


async def _serve(school: str, step: str, time: int, says: int) -> None:
    times = 0

    def look(name: str) -> None:
        nonlocal times
        times += name == step
        if name == step and times == time:
            os.write(says, f"{name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    if school:
        _watch(school, look)
    redactor = Redactor()
    settings = load_settings()
    configure_logging(redactor, level="WARNING", json=False)

    def ready(server: RpcServer) -> None:
        os.write(says, f"{server.target}\n".encode())

    await main.serve(settings, redactor, ready)


def _fork(request: dict[str, Any], heard: dict[int, IO[str]]) -> int:
    """Return the id of a new process, and note where it can be heard."""
    hears, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # with its maker
        status = 1
        try:
            asyncio.run(_serve(request["school"], request["step"], request["time"], says))
            status = 0
        finally:
            os._exit(status)
    os.close(says)
    heard[pid] = os.fdopen(hears)
    return pid


def _answer(request: dict[str, Any], heard: dict[int, IO[str]]) -> dict[str, Any]:
    if "start" in request:
        pid = _fork(request["start"], heard)
        return {"pid": pid, "target": heard[pid].readline().strip()}
    pid = request.get("kill") or request["wait"]
    if "kill" in request:
        os.kill(pid, signal.SIGKILL)
    elif not _ends(pid, request["seconds"]):
        return {"at": None}
    else:
        with heard.pop(pid) as hears:
            return {"at": hears.readline().strip()}
    os.waitpid(pid, 0)
    with heard.pop(pid) as hears:
        return {"at": hears.readline().strip()}


def _ends(pid: int, seconds: float) -> bool:
    """Whether a process ends in time; it is reaped then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)
    return False


def _work(requests: IO[str], answers: IO[str]) -> None:
    heard: dict[int, IO[str]] = {}
    for line in requests:
        answers.write(json.dumps(_answer(json.loads(line), heard)) + "\n")
        answers.flush()


def _hastened(**given: Any) -> WriteOptions:
    """Return options of writing in which nobody waits for long; what has settled is up to the settings."""
    return replace(
        WriteOptions(**given),
        attempt=timedelta(seconds=ATTEMPT_SECONDS),
        skew=timedelta(seconds=0.2),
        lease_ttl=timedelta(seconds=2),
        refused_first=timedelta(seconds=1),
        retry_first=timedelta(seconds=0.3),
        retry_longest=timedelta(seconds=2),
        look_first=timedelta(seconds=0.3),
        look_longest=timedelta(seconds=4),
        blocked_longest=timedelta(seconds=2),
        save_for=timedelta(seconds=10),
    )


if __name__ == "__main__":
    leases.GRACE = timedelta(seconds=GRACE_SECONDS)
    _put(main, "WriteOptions", _hastened)
    _work(sys.stdin, sys.stdout)
