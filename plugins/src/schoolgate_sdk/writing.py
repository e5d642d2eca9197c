"""Writing to a MIS: what a connector declares about each operation, and what its session offers for it.

The server promises at most one effect per idempotency key. It can keep that only if a connector sends once,
says honestly when it does not know what came of it, and says beforehand how an answer that was lost can be
made good.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.errors import Unsupported
from schoolgate_sdk.keys import SourceKey

WriteValue: TypeAlias = str | int | bool | SourceKey | None
"""One value of a write. Dates and times are ISO 8601 texts; people, groups and rooms are source keys."""


def written_moment(values: Mapping[str, WriteValue], name: str) -> datetime:
    """Return the date and time of a write's value, in UTC.

    Raises:
        Unsupported: it is missing, no ISO 8601 text, without an offset, or outside of the years 1 to 9999.
    """
    value = values.get(name)
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        if found is not None and found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Unsupported(f"{name} must be a date and time with an offset")


class WriteSafety(enum.Enum):
    """How an operation can be made safe to send, best first.

    ``NATIVE_KEY``: the MIS takes an idempotency key and heeds it. ``EXTERNAL_ID``: the MIS stores an id of
    ours and can be asked for it. ``NATURAL_KEY_READBACK``: what came to be can be found by what was written
    (pupil, day, type …), as long as nobody else writes the same. ``NONE``: nothing can be found out; such a
    write is never sent again by itself.
    """

    NATIVE_KEY = "native_key"
    EXTERNAL_ID = "external_id"
    NATURAL_KEY_READBACK = "natural_key_readback"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class WriteOperation:
    """One operation that a connector can write.

    ``name`` is that of an operation of the write-back service ("record_behaviour_event"). ``required`` and
    ``optional`` name the values that it reads; ``natural_key`` those by which its effect is found again
    where ``safety`` is ``NATURAL_KEY_READBACK``. ``entities`` are the MIS's that must be granted. ``kinds``
    are those of the records that ``deactivate_record`` and ``correct_record`` can be applied to.

    ``announces`` promises that :attr:`WriteRequest.leaving` is called once all is ready and nothing has left.
    Only then can the server show what would be sent, stop a write at the last moment, and tell a write that
    never left from one whose outcome is unknown.

    Raises:
        ValueError: a natural key is missing where it is needed, or names what the operation does not read.
    """

    name: str
    safety: WriteSafety
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    natural_key: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    kinds: tuple[Kind.ValueType, ...] = ()
    announces: bool = False

    def __post_init__(self) -> None:
        if self.safety is WriteSafety.NATURAL_KEY_READBACK and not self.natural_key:
            raise ValueError(f"{self.name} is read back by its natural key, and has none")
        unknown = sorted({*self.natural_key} - {*self.required, *self.optional})
        if unknown:
            raise ValueError(f"the natural key of {self.name} names no values of it: {', '.join(unknown)}")


class Departure(NamedTuple):
    """What is about to leave for the MIS: ``target`` says what is done ("POST BehaviourEventRecords"), and
    ``body`` is what is sent as a text. Neither holds credentials.
    """

    target: str
    body: str

    def __repr__(self) -> str:
        return f"Departure({self.target!r}, {len(self.body)} characters)"


Leaving: TypeAlias = Callable[[Departure], None]
"""Is told what is about to leave; raises ``WriteStopped`` where it must not."""


def _nobody_asks(departure: Departure) -> None:
    """Let everything leave."""


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """One write to the MIS under one idempotency key; ``values`` holds the operation's typed values.

    Values bear the names of the operation's fields in the write-back service; those that are record ids there
    (``student_id``) are the MIS's keys here. ``not_before`` is the moment of the first attempt, where the
    caller knows it: an effect that the MIS dates earlier is none of this write's.

    ``leaving`` is to be called immediately before the first byte of the write leaves, after every wait and
    every read that prepares it. What it raises must be passed on, and then nothing may be sent.
    """

    operation: str
    idempotency_key: str
    values: Mapping[str, WriteValue] = field(default_factory=dict[str, WriteValue])
    not_before: datetime | None = None
    leaving: Leaving = field(default=_nobody_asks, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """What the MIS answered to a write: its own ids of what came to be, where it told them.

    ``pending`` is the id under which an asynchronous MIS works on the write; it has then not taken effect
    yet, and :class:`FindWrite` says when it has. ``keys`` are the source keys under which the datasets will
    have what came to be, where they are known; they go with ``mis_ids``. ``response`` is what the MIS said,
    for people, as far as it is worth keeping; the server keeps it encrypted.
    """

    mis_ids: tuple[str, ...] = ()
    pending: str | None = None
    keys: tuple[SourceKey, ...] = ()
    response: str = field(default="", repr=False)


@runtime_checkable
class WriteRows(Protocol):
    """Writes to the MIS."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """Send ``request`` once; never retries.

        Raises:
            Transient: whether it took effect is not known; of an operation that announces, where
                ``request.leaving`` was called.
            WriteStopped: ``request.leaving`` raised it; nothing was sent.
            Unsupported: the operation is none of this connector's, or a value cannot be written; nothing was
                sent.
            ConnectorError: any other, where the MIS is known to have refused it.
        """
        ...


@runtime_checkable
class FindWrite(Protocol):
    """Finds out what became of a write."""

    async def find_write(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        """Return the receipt of ``request`` where it took effect, ``None`` where it provably did not.

        It is looked for by native key, external id or natural key, as the operation declares; ``receipt`` is
        what :meth:`WriteRows.write` returned, if it did. A receipt that is still ``pending`` comes back as
        such.

        Raises:
            Transient: it cannot be known now.
            Incomplete: it cannot be known from what the MIS shows (several could be it, say).
        """
        ...
