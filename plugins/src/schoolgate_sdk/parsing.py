"""Parsers: pure functions from one source row to canonical messages.

A parser does no I/O, keeps no state and reads no clock, so that the server can run it again over retained
rows, compare two versions of it, and explain what it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from google.protobuf.message import Message

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.keys import SourceKey

Row: TypeAlias = Mapping[str, Any]
"""What the MIS sent for one entity, as decoded JSON (str, int, float, bool, None, lists and dicts)."""


def rows_among(items: Sequence[object]) -> list[Row] | None:
    """Return the rows that ``items`` of decoded JSON are; ``None`` where there are items and no object.

    One item among others that is no object becomes a row without columns: it lacks its key, and so it is the
    parser's to refuse, which leaves a decision, instead of costing all the other rows.
    """
    objects = [isinstance(item, dict) for item in items]
    if items and not any(objects):
        return None
    return [cast("Row", item) if is_object else {} for item, is_object in zip(items, objects, strict=True)]


class Ref(NamedTuple):
    """A reference of a message to another record, by the MIS's key of that record.

    The server resolves ``key`` to a record id and stores it in the message's ``field``.
    """

    field: str
    kind: Kind.ValueType
    key: SourceKey


class LeftOut(NamedTuple):
    """A part of a row that was not taken over while the rest was; recorded as a decision.

    ``reason``, ``field`` and ``detail`` as of a :class:`RowRejected`. ``key`` is of what the part would have
    been.
    """

    reason: diagnostics.DecisionReason.ValueType
    field: str
    detail: str
    key: SourceKey


class Parsed(NamedTuple):
    """One canonical message that a row yields.

    ``message`` leaves the fields named in ``refs`` unset, and every coded field's canonical meaning too: the
    server fills both. ``other_keys`` are further keys of the same entity in other number spaces, such as a
    person number beside a pupil number: where such a key is another record's whose own row a complete
    snapshot lacks, the entity was given a new key, or two were merged. ``former_keys`` are keys in the kind's
    own namespace that the MIS says this entity had before. ``left_out`` says which other parts of the row
    were not taken over: one message of the row says it for all.
    """

    kind: Kind.ValueType
    key: SourceKey
    message: Message
    refs: tuple[Ref, ...] = ()
    other_keys: tuple[SourceKey, ...] = ()
    former_keys: tuple[SourceKey, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class RowRejected(ValueError):
    """A parser's verdict that a row cannot be taken over; recorded as a decision, never fatal.

    Args:
        reason: why, as the decision will say.
        field: the source field at fault.
        detail: one sentence without values.
        key: the row's key, where it has one.
    """

    def __init__(
        self,
        reason: diagnostics.DecisionReason.ValueType,
        field: str,
        detail: str,
        key: SourceKey | None = None,
    ) -> None:
        super().__init__(f"{field}: {detail}")
        self.reason = reason
        self.field = field
        self.detail = detail
        self.key = key


class Parser(Protocol):
    """``parser(row, settings)`` yields the canonical messages of one row, in a fixed order.

    ``settings`` are the school's connector settings (defaults filled in). Raises :class:`RowRejected` where
    the row cannot be taken over; any other exception is recorded as ``PARSER_ERROR`` against the connector.
    """

    def __call__(self, row: Row, settings: Mapping[str, str], /) -> Iterable[Parsed]:
        """Parse one row."""
        ...
