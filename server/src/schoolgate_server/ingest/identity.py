"""Resolves source keys to record ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import Dataset, SourceKey, encode_key
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.ids import Minter, kind_of


class Claim(NamedTuple):
    """A row's word that its record is the one which ``holder`` is.

    ``key`` is the encoded key that both have; ``certain`` means that the MIS calls it a former key of the
    row's entity, so that nothing needs to be waited for.
    """

    record_id: str
    holder: str
    key: str
    certain: bool = False


def joined_keys(minter: Minter, record_id: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of a record that has more than its own row's: the one that minted its id, then the
    others in the order of their text, so that whoever joins them gets the same.
    """
    kind = kind_of(record_id)
    return tuple(sorted(set(keys), key=lambda key: (minter.mint(kind, key) != record_id, key)))


class Identities:
    """The keys of one school during one run.

    A key in a kind's own namespace always has an id: the alias's, else the minted one, which a record that
    is still to come will get too. A key in another number space has an id only once a record brought it.
    """

    def __init__(self, minter: Minter, datasets: Iterable[Dataset], aliases: Iterable[Alias]) -> None:
        self.minter = minter
        self._aliases: dict[tuple[Kind.ValueType, str], str] = {}
        self._linked: dict[str, set[str]] = {}
        self._own = {(spec.kind, spec.namespace) for dataset in datasets for spec in dataset.kinds}
        self._resolved: dict[tuple[Kind.ValueType, SourceKey], str] = {}
        self._new: list[Alias] = []
        for kind, key, record_id, link in aliases:
            self._aliases[kind, key] = record_id
            if link:
                self._linked.setdefault(record_id, set()).add(key)

    def own(self, kind: Kind.ValueType, encoded_key: str) -> str:
        """Return the id of the record that has ``encoded_key`` in its kind's own namespace."""
        known = self._aliases.get((kind, encoded_key)) if self._aliases else None
        return known or self.minter.mint(kind, encoded_key)

    def is_own(self, kind: Kind.ValueType, encoded_key: str, record_id: str) -> bool:
        """Whether ``encoded_key``, which stands for ``record_id``, is the key that the id was made from."""
        return (kind, encoded_key) not in self._aliases or self.minter.mint(kind, encoded_key) == record_id

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

    def learn(self, kind: Kind.ValueType, encoded_key: str, record_id: str) -> str:
        """Take note of a further key of a record; return the record that has it, the first that came."""
        holder = self._aliases.get((kind, encoded_key))
        if holder is None:
            self._add(Alias(kind, encoded_key, record_id))
            return record_id
        return holder

    def link(self, kind: Kind.ValueType, keys: Iterable[str], record_id: str) -> None:
        """Let ``keys`` stand for ``record_id`` from now on, whichever record they stood for before."""
        for key in keys:
            self._linked.setdefault(record_id, set()).add(key)
            self._add(Alias(kind, key, record_id, link=True))
        self._resolved.clear()

    def keys(self, record_id: str, row_keys: tuple[str, ...]) -> tuple[str, ...]:
        """Return the keys of a record whose row brings ``row_keys``."""
        linked = self._linked.get(record_id) if self._linked else None
        return row_keys if linked is None else joined_keys(self.minter, record_id, {*linked, *row_keys})

    def take_new(self) -> list[Alias]:
        """Return the aliases learnt since the last call; they must be stored before records that use them."""
        new, self._new = self._new, []
        return new

    def _add(self, alias: Alias) -> None:
        self._aliases[alias.kind, alias.key] = alias.record_id
        self._new.append(alias)
