"""What is known about the call at hand, for everything that runs within it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.rpc.callers import Caller

CORRELATION_KEY = "x-correlation-id"
"""Metadata key under which a caller sends its own correlation id, and gets back the one that was used."""

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its path ("/package.Service/Method"), its correlation id, and what turns out while it runs.

    ``caller`` is who makes it, once identified; ``reason`` is the one of the error that ended it. ``admit``
    raises what would refuse the call if it was made now.
    """

    path: str
    correlation_id: str
    caller: Caller | None = None
    reason: str | None = None
    admit: Callable[[], None] | None = None

    @property
    def method(self) -> str:
        """The method's own name, as ``ErrorInfo`` carries it."""
        return self.path.rpartition("/")[2]


_current: ContextVar[Call] = ContextVar("schoolgate_call")


def begin(path: str, offered_id: object, new_id: Callable[[], str]) -> Call:
    """Make the call at hand known; a malformed correlation id is replaced by a new one."""
    usable = isinstance(offered_id, str) and _CORRELATION_ID.fullmatch(offered_id)
    call = Call(path, str(offered_id) if usable else new_id())
    _current.set(call)
    return call


def made_by(caller: Caller) -> None:
    """Make known who makes the call at hand."""
    _current.set(replace(_current.get(), caller=caller))


def admitted_by(admit: Callable[[], None]) -> None:
    """Make known what admits the call at hand."""
    _current.set(replace(_current.get(), admit=admit))


def admit_again() -> None:
    """Raise what would refuse the call at hand if it was made now: its token may have been revoked."""
    admit = _current.get().admit
    if admit is not None:
        admit()


def failed_with(reason: str) -> None:
    """Make known why the call at hand failed."""
    _current.set(replace(_current.get(), reason=reason))


def current_call() -> Call:
    """Return the call at hand; raises ``LookupError`` outside of one."""
    return _current.get()


def current_caller() -> Caller:
    """Return who makes the call at hand; raises ``LookupError`` where nobody was identified."""
    caller = _current.get().caller
    if caller is None:
        raise LookupError("the call at hand has no caller")
    return caller


@cache
def _school_path(descriptor: Descriptor) -> str | None:
    fields = descriptor.fields_by_name
    if "school_id" in fields:
        return "school_id"
    school = fields.get("school")
    if school is not None and school.message_type is School.DESCRIPTOR:
        return "school"
    return None


def school_of(request: object) -> str | None:
    """Return the school that a request names, "" for none; ``None`` where it has no place for one."""
    if not isinstance(request, Message):
        return None
    path = _school_path(request.DESCRIPTOR)
    if path is None:
        return None
    found = getattr(request, path)
    return found.school_id if isinstance(found, School) else str(found)
