"""The folder of the embedded server: data, secrets and log, closed to other users of the machine."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from pathlib import Path

from schoolgate_server.store.errors import EmbeddedError

_LOG_LINES = 3


class EmbeddedFolder:
    """One folder (0700), kept between starts.

    ``db`` holds MongoDB's own files, ``password`` and ``keyfile`` (0600) the secrets, ``port`` the last port,
    ``mongod.log`` the log of this start (``mongod.log.1`` of the one before), ``mongod.out`` its output.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "db"
        self.key_file = path / "keyfile"
        self.log = path / "mongod.log"
        self.output = path / "mongod.out"
        self._password_file = path / "password"
        self._port_file = path / "port"

    def prepare(self) -> str:
        """Make what is missing, close what is open, and return the password.

        Raises:
            EmbeddedError: the folder cannot be made, or belongs to another user.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_uid != os.getuid():
                raise EmbeddedError(f"{self.path} belongs to another user; choose another folder")
            self.path.chmod(0o700)
            self.database.mkdir(mode=0o700, exist_ok=True)
            if self.log.exists():
                self.log.replace(self.log.with_name("mongod.log.1"))
            _secret(self.key_file, 512)
            return _secret(self._password_file, 32)
        except OSError as error:
            raise EmbeddedError(
                f"the folder {self.path} of the embedded MongoDB cannot be used: {error.strerror}"
            ) from error

    def holder(self) -> int | None:
        """Return the process id of the ``mongod`` that has these data open, ``None`` when there is none.

        The id in the file outlives a crash, the lock on the file does not.
        """
        try:
            lock = (self.database / "mongod.lock").open("r+b")
        except FileNotFoundError:
            return None
        with lock:
            try:
                # Which of the two kinds of lock MongoDB takes has changed between its releases.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read().strip() or b"0")
        return None

    def choose_port(self) -> int:
        """Return the port of the last start where it is free, else a free one, which it remembers."""
        last = int(self._port_file.read_text()) if self._port_file.exists() else 0
        port = last if last and is_free(last) else _free_port()
        self._port_file.write_text(f"{port}\n")
        return port

    def complaints(self) -> str:
        """Return what the server said last, for an error message."""
        said = [_complaint(line) for file in (self.output, self.log) for line in _lines(file)]
        return "; ".join([text for text in said if text][-_LOG_LINES:]) or "it said nothing"


def _complaint(line: str) -> str:
    """Return the text of a line of the server's log that reports an error, or a line that is no log entry."""
    if not line.startswith("{"):
        return line.strip()
    entry = json.loads(line)
    if entry.get("s") not in {"E", "F"}:
        return ""
    return f"{entry.get('msg', '')} {entry.get('attr', {}).get('error', '')}".strip()


def is_free(port: int) -> bool:
    """Whether ``port`` can be listened on at loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _secret(path: Path, length: int) -> str:
    """Return the text in ``path`` (0600), which is made from randomness where it is missing."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
    else:
        with os.fdopen(descriptor, "w") as file:
            # The alphabet is that of MongoDB's key files, and needs no quoting in a URI.
            file.write(secrets.token_hex(length // 2))
    return path.read_text()


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
