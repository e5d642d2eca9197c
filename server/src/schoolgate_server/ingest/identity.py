"""Resolves source keys to record ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import Dataset, SourceKey, encode_key
from schoolgate_server.model.ids import Minter

Aliases: TypeAlias = dict[tuple[Kind.ValueType, str], str]
"""Kind and encoded key → record id, for keys whose id is not the one minted from them."""


class NewAlias(NamedTuple):
    """A further key of a record, seen for the first time."""

    kind: Kind.ValueType
    encoded_key: str
    record_id: str


class Identities:
    """The keys of one school during one run.

    A key in a kind's own namespace always has an id: the alias's, else the minted one, which a record that
    is still to come will get too. A key in another number space has an id only once a record brought it.
    """

    def __init__(
        self, minter: Minter, datasets: Iterable[Dataset], aliases: Mapping[tuple[Kind.ValueType, str], str]
    ) -> None:
        self._minter = minter
        self._aliases: Aliases = dict(aliases)
        self._own = {(spec.kind, spec.namespace) for dataset in datasets for spec in dataset.kinds}
        self._resolved: dict[tuple[Kind.ValueType, SourceKey], str] = {}
        self._new: list[NewAlias] = []

    def own(self, kind: Kind.ValueType, encoded_key: str) -> str:
        """Return the id of the record that has ``encoded_key`` in its kind's own namespace."""
        known = self._aliases.get((kind, encoded_key)) if self._aliases else None
        return known or self._minter.mint(kind, encoded_key)

    def resolve(self, kind: Kind.ValueType, key: SourceKey) -> str | None:
        """Return the id of the record that ``key`` refers to, or ``None`` where nobody knows."""
        found = self._resolved.get((kind, key))
        if found is not None:
            return found
        encoded = encode_key(key)
        if (kind, key.namespace) in self._own:
            found = self.own(kind, encoded)
        else:
            found = self._aliases.get((kind, encoded))
        if found is not None:
            self._resolved[kind, key] = found
        return found

    def learn(self, kind: Kind.ValueType, encoded_key: str, record_id: str) -> bool:
        """Take note of a further key of a record; false where another record has it already."""
        holder = self._aliases.get((kind, encoded_key))
        if holder is None:
            self._aliases[kind, encoded_key] = record_id
            self._new.append(NewAlias(kind, encoded_key, record_id))
            return True
        return holder == record_id

    def take_new(self) -> list[NewAlias]:
        """Return the aliases learnt since the last call; they must be stored before records that use them."""
        new, self._new = self._new, []
        return new
