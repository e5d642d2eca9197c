"""Comparing what arrived with what the world says, without being told how the MIS keys things.

Entities are compared kind by kind, what is referred to before what refers. Equal ones get the same token; a
reference is compared by the token of what it refers to. Of what is left over, the most alike are taken to be
the same entity, so that one wrong surname is one difference and not one more for each of the pupil's groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

from google.protobuf.message import Message

from schoolgate.v1 import kind_pb2 as k
from schoolgate_sdk.keys import SourceKey, encode_key
from schoolgate_sdk.kinds import KINDS
from schoolgate_sdk.parsing import Parsed
from schoolgate_sdk.testing.truth import Truth

KindValue: TypeAlias = k.Kind.ValueType
Key: TypeAlias = tuple[KindValue, tuple[object, ...]]

_FIRST = (
    *(k.KIND_SCHOOL, k.KIND_ACADEMIC_YEAR, k.KIND_LOCAL_CODE, k.KIND_ATTENDANCE_CODE),
    *(k.KIND_SUBJECT, k.KIND_ROOM, k.KIND_PERIOD, k.KIND_STUDENT, k.KIND_STAFF, k.KIND_CONTACT, k.KIND_GROUP),
)
ORDER: tuple[KindValue, ...] = (*_FIRST, *(kind for kind in KINDS if kind not in _FIRST))
"""Every kind, what is referred to before what refers."""

_MOST_GUESSED = 400
"""Left-over entities of a kind that are compared with each other; beyond, only their number is told."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of either side: its key there, its fields, and the keys that its references name."""

    kind: KindValue
    key: tuple[object, ...]
    fields: Mapping[str, Hashable]
    refs: Mapping[str, Key]

    def __str__(self) -> str:
        key = encode_key(self.key) if isinstance(self.key, SourceKey) else repr(self.key)
        return f"{KINDS[self.kind].name} {key}"


def of_truth(truth: Truth) -> Entity:
    """Return the world's side of an entity."""
    refs = {ref.field: (ref.kind, ref.key) for ref in truth.refs}
    return Entity(truth.kind, truth.key, fields_of(truth.message), refs)


def of_parsed(parsed: Parsed) -> Entity:
    """Return the connector's side of an entity."""
    refs: dict[str, Key] = {ref.field: (ref.kind, ref.key) for ref in parsed.refs}
    return Entity(parsed.kind, parsed.key, fields_of(parsed.message), refs)


def fields_of(message: Message) -> dict[str, Hashable]:
    """Return the fields that are set, repeated ones and messages as their deterministic bytes."""
    found: dict[str, Hashable] = {}
    for descriptor, value in message.ListFields():
        if isinstance(value, str | int | float | bool | bytes):
            found[descriptor.name] = value
        elif isinstance(value, Message):
            found[descriptor.name] = value.SerializeToString(deterministic=True)
        else:
            found[descriptor.name] = tuple(
                item.SerializeToString(deterministic=True) if isinstance(item, Message) else item
                for item in value
            )
    return found


@dataclass(slots=True)
class Comparison:
    """What differs, in sentences by kind, and which keys mean the same.

    ``pairs`` maps the world's key to the connector's, for entities that nothing else equals.
    """

    differences: dict[KindValue, list[str]] = field(default_factory=dict[KindValue, list[str]])
    pairs: dict[Key, SourceKey] = field(default_factory=dict[Key, SourceKey])

    def of(self, kinds: Iterable[KindValue] | None = None) -> list[str]:
        """Return what differs in ``kinds``, or in all."""
        wanted = set(self.differences) if kinds is None else set(kinds)
        return [text for kind, texts in self.differences.items() if kind in wanted for text in texts]


class _Side:
    """The tokens of one side's keys."""

    def __init__(self, aliases: Mapping[Key, Key]) -> None:
        self.tokens: dict[Key, int] = {}
        self._aliases = aliases

    def token(self, key: Key) -> Hashable:
        """Return the token of what a reference names; what is not there has its kind's name for one."""
        found = self.tokens.get(key)
        if found is None:
            found = self.tokens.get(self._aliases.get(key, key))
        return f"no {KINDS[key[0]].name} there" if found is None else found

    def signature(self, entity: Entity) -> Hashable:
        refs = frozenset((name, self.token(key)) for name, key in entity.refs.items())
        return frozenset(entity.fields.items()), refs

    def shown(self, entity: Entity) -> dict[str, Hashable]:
        return {**entity.fields, **{name: self.token(key) for name, key in entity.refs.items()}}


def compare(
    expected: Sequence[Entity], arrived: Sequence[Entity], aliases: Mapping[Key, Key] | None = None
) -> Comparison:
    """Compare two sides. ``aliases`` are further keys of what arrived, each with the key proper."""
    result = Comparison()
    ours, theirs = _Side({}), _Side(aliases or {})
    tokens = count()
    by_kind: dict[KindValue, tuple[list[Entity], list[Entity]]] = defaultdict(lambda: ([], []))
    for entity in expected:
        by_kind[entity.kind][0].append(entity)
    for entity in arrived:
        by_kind[entity.kind][1].append(entity)
    for kind in ORDER:
        if kind in by_kind:
            found = _compare_kind(*by_kind[kind], ours, theirs, tokens, result.pairs)
            if found:
                result.differences[kind] = found
    return result


def _compare_kind(
    expected: list[Entity],
    arrived: list[Entity],
    ours: _Side,
    theirs: _Side,
    tokens: count[int],
    pairs: dict[Key, SourceKey],
) -> list[str]:
    classes: dict[Hashable, tuple[list[Entity], list[Entity]]] = defaultdict(lambda: ([], []))
    for entity in expected:
        classes[ours.signature(entity)][0].append(entity)
    for entity in arrived:
        classes[theirs.signature(entity)][1].append(entity)
    missing: list[Entity] = []
    extra: list[Entity] = []
    for one, other in classes.values():
        token = next(tokens)
        ours.tokens.update(((entity.kind, entity.key), token) for entity in one)
        theirs.tokens.update(((entity.kind, entity.key), token) for entity in other)
        if len(one) == len(other) == 1 and isinstance(other[0].key, SourceKey):
            pairs[one[0].kind, one[0].key] = other[0].key
        missing += one[len(other) :]
        extra += other[len(one) :]
    return _explain(missing, extra, ours, theirs, pairs)


def _explain(
    missing: list[Entity], extra: list[Entity], ours: _Side, theirs: _Side, pairs: dict[Key, SourceKey]
) -> list[str]:
    texts: list[str] = []
    left = list(extra)
    for entity in missing:
        if len(missing) > _MOST_GUESSED or len(extra) > _MOST_GUESSED:
            break
        mine = ours.shown(entity)
        alike = max(left, key=lambda other: _likeness(mine, theirs.shown(other)), default=None)
        if alike is None or _likeness(mine, theirs.shown(alike)) * 2 < len(mine):
            texts.append(f"{entity} did not arrive")
            continue
        left.remove(alike)
        # A merely different value does not make it another entity to whatever refers to it.
        theirs.tokens[alike.kind, alike.key] = ours.tokens[entity.kind, entity.key]
        if isinstance(alike.key, SourceKey):
            pairs[entity.kind, entity.key] = alike.key
        texts.append(f"{entity} arrived as {alike}: {_differing(mine, theirs.shown(alike))}")
    else:
        return texts + [f"{entity} arrived, and is not in the world" for entity in left]
    return [f"{len(missing)} did not arrive as they are, such as {missing[0] if missing else extra[0]}"]


def _likeness(one: Mapping[str, Hashable], other: Mapping[str, Hashable]) -> int:
    return sum(1 for name, value in one.items() if other.get(name) == value)


def _differing(expected: Mapping[str, Hashable], arrived: Mapping[str, Hashable]) -> str:
    texts: list[str] = []
    for name in dict.fromkeys((*expected, *arrived)):
        one, other = expected.get(name), arrived.get(name)
        if one != other:
            texts.append(f"{name} is {_said(name, one)}, and came as {_said(name, other)}")
    return "; ".join(texts)


def _said(name: str, value: Hashable) -> str:
    if value is None:
        return "not given"
    return "another record" if name.endswith("_id") and isinstance(value, int) else repr(value)[:80]
