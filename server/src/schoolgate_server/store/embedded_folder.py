"""The folder of the embedded server: data, secrets and log, closed to other users of the machine."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from schoolgate_server.store.errors import EmbeddedError

_LOG_LINES = 3
_PASSWORD = re.compile(r"[A-Za-z0-9]{1,256}")
"""Needs no quoting in a URI."""
_KEY_FILE = re.compile(r"[A-Za-z0-9+/=\s]{6,2048}")
"""What MongoDB takes; it counts the characters without the blanks."""


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
            EmbeddedError: the folder cannot be made or is another user's, or a secret in it is damaged.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_uid != os.getuid():
                raise EmbeddedError(f"{self.path} belongs to another user; choose another folder")
            self.path.chmod(0o700)
            self.database.mkdir(mode=0o700, exist_ok=True)
            if self.log.exists():
                self.log.replace(self.log.with_name("mongod.log.1"))
            key, password = _secret(self.key_file, 512), _secret(self._password_file, 32)
        except OSError as error:
            raise EmbeddedError(
                f"the folder {self.path} of the embedded MongoDB cannot be used: {error.strerror}"
            ) from error
        if not _KEY_FILE.fullmatch(key):
            raise EmbeddedError(f"{self.key_file} is damaged; remove it, and the next start makes a new one")
        if not _PASSWORD.fullmatch(password):
            raise EmbeddedError(
                f"{self._password_file} is damaged: it must hold the password that the data were made with, "
                "letters and digits without a line end; put it back, or remove the folder to start anew"
            )
        return password

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
        """Return the port of the last start where it is free, else a free one, which it remembers.

        Raises:
            EmbeddedError: it cannot be written down.
        """
        port = self._last_port()
        if port is None or not is_free(port):
            port = _free_port()
        try:
            with _draft(self._port_file, f"{port}\n") as draft:
                draft.replace(self._port_file)
        except OSError as error:
            raise EmbeddedError(f"{self._port_file} cannot be written: {error.strerror}") from error
        return port

    def _last_port(self) -> int | None:
        """Return the port in the file, ``None`` where there is no usable one: it is only a preference."""
        try:
            text = self._port_file.read_text(errors="replace").strip()
        except OSError:
            return None
        usable = text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 1 << 16
        return int(text) if usable else None

    def complaints(self) -> str:
        """Return what the server said last, for an error message."""
        said = [_complaint(line) for file in (self.output, self.log) for line in _lines(file)]
        return "; ".join([text for text in said if text][-_LOG_LINES:]) or "it said nothing"


def _complaint(line: str) -> str:
    """Return the text of a line of the server's log that reports an error, or a line that is no log entry."""
    if not line.startswith("{"):
        return line.strip()
    try:
        entry = json.loads(line)
    except ValueError:  # the server ended in the middle of the line
        return ""
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


@contextmanager
def _draft(path: Path, text: str) -> Generator[Path]:
    """Give a file (0600) beside ``path`` that holds ``text`` for certain, to be put in its place.

    A crash leaves the old file or the new one, and nothing half written.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _secret(path: Path, length: int) -> str:
    """Return the text in ``path`` (0600), which is made from randomness where it is missing."""
    if not path.exists():
        # The alphabet is that of MongoDB's key files, and needs no quoting in a URI.
        with _draft(path, secrets.token_hex(length // 2)) as draft, suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it lets a start that was faster keep its secret
    path.chmod(0o600)
    return path.read_text(errors="replace")


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []
