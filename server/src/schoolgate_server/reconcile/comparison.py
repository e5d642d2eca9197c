"""What differs between two readings of the same rows, record by record and field by field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import kind_info
from schoolgate_server.reconcile.index import Index

MOST_PAIRS = 2_000
"""Pairs of values that are counted one by one for a field; further ones only count for the field."""

LONGEST_VALUE = 80
"""Characters of a value that are kept: enough for every code, and the beginning of a text."""

KEYS = "source_keys"
"""What stands for a field where two readings differ in a record's keys."""

_BEFORE = 1
_AFTER = 2

Pair: TypeAlias = tuple[str, str]
"""A value by the first reading and by the second, in text form."""


class Reading(NamedTuple):
    """One record as one of the readings has it."""

    record_id: str
    kind: Kind.ValueType
    keys: tuple[str, ...]
    message: Message
    digest: bytes


@dataclass(slots=True)
class FieldDifferences:
    """How the field ``name`` differs: in ``count`` records, of which ``examples`` are some per pair."""

    kind: Kind.ValueType
    name: str
    count: int = 0
    pairs: Counter[Pair] = field(default_factory=Counter[Pair])
    examples: dict[Pair, list[str]] = field(default_factory=dict[Pair, list[str]])

    def add(self, pair: Pair, record_id: str, examples: int) -> None:
        """Count one record with ``pair``."""
        self.count += 1
        if pair not in self.pairs and len(self.pairs) >= MOST_PAIRS:
            return
        self.pairs[pair] += 1
        kept = self.examples.setdefault(pair, [])
        if len(kept) < examples:
            kept.append(record_id)


class Comparison:
    """Two readings of the same rows; memory grows by some 75 bytes a record.

    A record that several rows yield is compared as the first of them has it.

    Args:
        examples: record ids to keep per field and pair of values.
    """

    def __init__(self, examples: int) -> None:
        self._examples = examples
        self._index = Index()
        self._fields: dict[tuple[Kind.ValueType, str], FieldDifferences] = {}
        self._seen_before = 0
        self._seen_after = 0
        self.same = 0
        self.differing = 0

    @property
    def only_before(self) -> int:
        """Records that only the first reading has."""
        return self._seen_before - self.same - self.differing

    @property
    def only_after(self) -> int:
        """Records that only the second reading has."""
        return self._seen_after - self.same - self.differing

    def take(self, before: Sequence[Reading], after: Sequence[Reading]) -> None:
        """Compare what the two readings make of one row."""
        others = {reading.record_id: reading for reading in after}
        for reading in before:
            other = others.pop(reading.record_id, None)
            is_new = self._see(reading, _BEFORE)
            if other is not None and self._see(other, _AFTER) and is_new and reading.digest != other.digest:
                self._compare(reading, other)
        for other in others.values():
            self._see(other, _AFTER)

    def differences(self) -> list[FieldDifferences]:
        """Return how fields differ: those that hold codes or their meanings first, then by frequency."""
        return sorted(
            self._fields.values(),
            key=lambda found: (not _is_coded(found), -found.count, found.kind, found.name),
        )

    def _see(self, reading: Reading, side: int) -> bool:
        """Take note that one reading has the record; return whether it is the first time."""
        index = self._index
        place = index.place(reading.record_id)
        if index.flags[place] & side:
            return False
        index.flags[place] |= side
        if side == _BEFORE:
            self._seen_before += 1
            index.set_stored(place, reading.digest)
        else:
            self._seen_after += 1
            index.set_observed(place, reading.digest)
        if index.flags[place] == _BEFORE | _AFTER:
            if index.stored(place) == index.observed(place):
                self.same += 1
            else:
                self.differing += 1
        return True

    def _compare(self, before: Reading, after: Reading) -> None:
        for name, pair in _differing(before, after):
            found = self._fields.get((before.kind, name))
            if found is None:
                found = self._fields[before.kind, name] = FieldDifferences(before.kind, name)
            found.add(pair, before.record_id, self._examples)


def _is_coded(found: FieldDifferences) -> bool:
    coded = kind_info(found.kind).coded
    return found.name in coded or found.name in coded.values()


def _differing(before: Reading, after: Reading) -> Iterator[tuple[str, Pair]]:
    """Yield the fields whose values differ, with the values."""
    old, new = dict(before.message.ListFields()), dict(after.message.ListFields())
    for descriptor in _in_order(old.keys() | new.keys()):
        if old.get(descriptor) != new.get(descriptor):
            yield descriptor.name, (_text(descriptor, old), _text(descriptor, new))
    if before.keys != after.keys:
        yield KEYS, (_cut(" ".join(before.keys)), _cut(" ".join(after.keys)))


def _in_order(fields: Iterable[FieldDescriptor]) -> list[FieldDescriptor]:
    return sorted(fields, key=lambda descriptor: descriptor.number)


def _text(descriptor: FieldDescriptor, values: dict[FieldDescriptor, object]) -> str:
    """Return a field's value for people; empty where the message has none."""
    value = values.get(descriptor)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if descriptor.enum_type is not None and isinstance(value, int):
        known = descriptor.enum_type.values_by_number.get(value)
        return str(value) if known is None else known.name
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
