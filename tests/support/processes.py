"""Processes that tests start, stall and kill, and that never outlive the test process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

# Runs between fork and the command. Linux kills the process with the one that started it, and SIGKILL also
# ends what a test stalled by SIGSTOP, as SIGTERM would not.
_LAUNCHER = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this one has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""

# Linux means the thread that started it, so all are started by one that lasts as long as this process.
_STARTER = ThreadPoolExecutor(1, "starts processes")

_POLL = 0.02


def launch(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command``, whose first word is a path, as a child that dies with this process."""
    return _STARTER.submit(
        subprocess.Popen[bytes],
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
        env=None if environment is None else dict(environment),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    ).result()


def stall(process: subprocess.Popen[bytes]) -> None:
    """Stop ``process`` where it is (SIGSTOP), and return once it stands still."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: stands_still(process.pid), "the process stands still")


def wake(process: subprocess.Popen[bytes]) -> None:
    """Let a stalled ``process`` go on (SIGCONT)."""
    process.send_signal(signal.SIGCONT)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` at once (SIGKILL), stalled or not, and reap it. No-op where it has ended."""
    process.kill()
    process.wait(30)


def stands_still(pid: int) -> bool:
    """Whether process ``pid`` is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return once ``holds`` does; fail after ``seconds``, which are far more than it takes."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain until {what}"
        time.sleep(_POLL)
