"""Who calls: bearer tokens, kept as hashes in a TOML file that is read again when it changes.

The file is a list of tables ``[[callers]]``, each with ``name``, ``token_sha256`` (64 hexadecimal digits),
``roles`` (for example ``["READER"]``) and ``schools`` (ids, or ``["*"]`` for every school).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.checks import SCHOOL_ID
from schoolgate_server.rpc.roles import Role, expand

_BEARER = re.compile(r"(?i:bearer) +(?P<token>[\x21-\x7e]{1,512})")
_EVERY_SCHOOL = "*"


class CallersInvalid(ValueError):
    """The callers file cannot be used; the text says what is wrong and never quotes a hash."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller: ``roles`` with all that they include; ``schools`` is ``None`` for every school."""

    name: str
    roles: frozenset[Role]
    schools: frozenset[str] | None

    def may_act_for(self, school_id: str) -> bool:
        """Whether the caller's schools include ``school_id``."""
        return self.schools is None or school_id in self.schools


LOCAL = Caller("local", expand(frozenset(Role)), None)
"""Who everybody is on a server without callers, which therefore listens on loopback only."""


class Callers(Protocol):
    """Tells callers by the ``authorization`` metadata of a call."""

    def identify(self, authorization: str | None) -> Caller:
        """Return the caller; raises ``TOKEN_INVALID``."""
        ...


class AnyoneLocal:
    """The door without a lock."""

    def identify(self, authorization: str | None) -> Caller:
        return LOCAL


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    token_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    roles: frozenset[Role] = Field(min_length=1)
    schools: frozenset[str] = Field(min_length=1)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    callers: tuple[_Entry, ...] = Field(min_length=1)


def hash_token(token: str) -> str:
    """Return what stands in the file for ``token``.

    Tokens are random and long, so that a plain hash keeps them as safe as a slow one would.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def parse_callers(text: str) -> Mapping[str, Caller]:
    """Return the callers in ``text`` by the hash of their token.

    Raises:
        CallersInvalid: not TOML, a field is missing or malformed, or a name or token stands there twice.
    """
    try:
        document = _Document.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CallersInvalid(f"not TOML: {error}") from None
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CallersInvalid(found) from None
    callers: dict[str, Caller] = {}
    for entry in document.callers:
        everywhere = _EVERY_SCHOOL in entry.schools
        malformed = [s for s in entry.schools if s != _EVERY_SCHOOL and not SCHOOL_ID.fullmatch(s)]
        if malformed:
            raise CallersInvalid(f"caller {entry.name!r}: not a school id: {', '.join(sorted(malformed))}")
        if any(entry.name == other.name for other in callers.values()):
            raise CallersInvalid(f"caller {entry.name!r} stands there twice")
        if entry.token_sha256 in callers:
            raise CallersInvalid(f"caller {entry.name!r} has the token of another one")
        schools = None if everywhere else entry.schools
        callers[entry.token_sha256] = Caller(entry.name, expand(entry.roles), schools)
    return callers


class CallersFile:
    """The callers of a file, which :meth:`follow` keeps up to date.

    A file that becomes unusable while the server runs changes nothing: the last good callers stay, and the
    log says what is wrong.

    Raises:
        CallersInvalid: on construction, the file cannot be read or used.
    """

    def __init__(self, path: Path, every_s: float = 1.0) -> None:
        self._path = path
        self._every_s = every_s
        self._stamp: tuple[int, int, int] | None = None
        self._callers: Mapping[str, Caller] = {}
        self._load()

    def identify(self, authorization: str | None) -> Caller:
        match = _BEARER.fullmatch(authorization or "")
        caller = self._callers.get(hash_token(match["token"])) if match else None
        if caller is None:
            raise ServiceError(reasons.ERROR_REASON_TOKEN_INVALID, "")
        return caller

    async def follow(self) -> None:
        """Read the file again whenever it changes, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if await asyncio.to_thread(self._load):
                    logger.info("callers read again", callers=len(self._callers))
            except CallersInvalid as error:
                logger.error("callers file unusable, the last good callers stay: {}", error)

    def _load(self) -> bool:
        """Read the file if it is not the one read last; return whether it was read."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # before it is understood, so that a bad file is complained about once
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            missing, self._stamp = self._stamp == (0, 0, 0), (0, 0, 0)
            if missing and self._callers:
                return False
            raise CallersInvalid(f"{self._path}: {type(error).__name__}") from None
        try:
            self._callers = parse_callers(text)
        except CallersInvalid as error:
            raise CallersInvalid(f"{self._path}: {error}") from None
        return True
