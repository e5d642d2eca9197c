"""What a commit moves: one change per record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import CHANGE_CAUSE_SOURCE, ChangeCause, TombstoneReason


class Change(NamedTuple):
    """The next version of one record.

    ``expected_version`` is the version that it replaces, 0 for a record that never was; the commit fails
    where the store holds another one. ``keys`` are encoded source keys, the first one seen first. ``wire``
    is the kind's message in deterministic serialisation, without the message, which takes several times as
    much memory while tens of thousands wait; ``digest`` is the hash over both. ``valid_from`` and
    ``valid_to`` are ISO dates, half-open; a one-day kind has its day in ``valid_from``. A tombstone keeps
    the last body. ``cause`` says what made the version.
    """

    record_id: str
    dataset: str
    kind: Kind.ValueType
    keys: tuple[str, ...]
    wire: bytes
    digest: bytes
    expected_version: int
    valid_from: str | None = None
    valid_to: str | None = None
    tombstone: TombstoneReason.ValueType | None = None
    merged_into: str | None = None
    cause: ChangeCause.ValueType = CHANGE_CAUSE_SOURCE


@dataclass(frozen=True, slots=True)
class Commit:
    """Changes that become visible together, and the run totals that are true once they have.

    ``totals`` maps dataset to counter name to value, for the whole run so far.
    """

    run_id: str
    changes: Sequence[Change]
    totals: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


class RecordStates(NamedTuple):
    """What the diff needs to know of stored records, a column for each thing: there may be millions."""

    record_ids: Sequence[str]
    digests: Sequence[bytes]
    versions: Sequence[int]
    live: Sequence[bool]
