"""Resolves source keys to record ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple, Protocol, TypeAlias

import orjson

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import Dataset, SourceKey, decode_key, encode_key
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.ids import Minter, kind_of
from schoolgate_server.store.store import Store

Key: TypeAlias = tuple[Kind.ValueType, str]
"""A kind and an encoded key."""

MOST_HELD = 50_000
"""Aliases of a school that a run holds, some 20 MB; of more it looks up those of the rows at hand."""

MOST_REMEMBERED = 20_000
"""Keys and records of which what was looked up is remembered, some 10 MB."""

_NONE: frozenset[str] = frozenset()


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


class NotLookedUp(Exception):
    """Somebody asked for a key that was not looked up before: an error of this program, or a parser that
    yields something else for the same row.
    """


class StoredAliases(Protocol):
    """Where aliases are looked up that are too many to be held."""

    async def of_keys(self, school_id: str, keys: Sequence[Key]) -> Sequence[Alias]:
        """Return the aliases of encoded keys; a key that has none is left out."""
        ...

    async def links_of(self, school_id: str, record_ids: Sequence[str]) -> Sequence[Alias]:
        """Return those aliases of the records that are links."""
        ...


class Identities:
    """The keys of one school during one run.

    A key in a kind's own namespace always has an id: the alias's, else the minted one, which a record that
    is still to come will get too. A key in another number space has an id only once a record brought it.

    ``aliases`` are all that the school has, unless ``stored`` and the school's id say where they are looked
    up: then :meth:`look_up` must name each key before anything else is asked of it, and is forgotten once
    :data:`MOST_REMEMBERED` others were. What this run learns is held in either case.
    """

    def __init__(
        self,
        minter: Minter,
        datasets: Iterable[Dataset],
        aliases: Iterable[Alias],
        stored: tuple[StoredAliases, str] | None = None,
    ) -> None:
        self.minter = minter
        self._stored = stored
        self._looked_up: dict[Key, str | None] = {}
        self._links: dict[str, set[str]] = {}
        self._aliases: dict[Key, str] = {}
        self._linked: dict[str, set[str]] = {}
        self._own = {(spec.kind, spec.namespace) for dataset in datasets for spec in dataset.kinds}
        self._resolved: dict[tuple[Kind.ValueType, SourceKey], str] = {}
        self._new: list[Alias] = []
        self._is_as_begun = True
        self._stamp: bytes | None = None
        for kind, key, record_id, link in aliases:
            self._aliases[kind, key] = record_id
            if link:
                self._linked.setdefault(record_id, set()).add(key)

    @property
    def are_held(self) -> bool:
        """Whether every alias is held, so that nothing need be looked up."""
        return self._stored is None

    @property
    def stamp(self) -> bytes | None:
        """What stands for everything here that decides as which record a row is read; 16 bytes.

        A key of another number space does not, once a record has it: it says nothing of rows that it is not
        in. ``None`` where that cannot be said: aliases are not held, or this run has moved some.
        """
        if not self.are_held or not self._is_as_begun:
            return None
        if self._stamp is None:
            deciding = sorted(
                (kind, key, record_id)
                for (kind, key), record_id in self._aliases.items()
                if self._decides(kind, key) or key in self._linked.get(record_id, _NONE)
            )
            said = orjson.dumps([deciding, sorted(self._own)])
            self._stamp = hashlib.blake2b(said, digest_size=16).digest()
        return self._stamp

    async def look_up(self, keys: Iterable[Key], references: Iterable[Key] = ()) -> None:
        """Look up what stands under encoded ``keys`` and ``references``, where aliases are not held.

        Of the records under ``keys`` the linked keys are looked up too. All of them are known when this
        returns, whatever is forgotten of earlier calls.
        """
        if self._stored is None:
            return
        aliases, school_id = self._stored
        if len(self._looked_up) + len(self._links) > MOST_REMEMBERED:
            self._looked_up.clear()
            self._links.clear()
        keys = set(keys)
        unknown = sorted({*keys, *references} - self._looked_up.keys())
        found = {(each.kind, each.key): each.record_id for each in await aliases.of_keys(school_id, unknown)}
        self._looked_up.update((key, found.get(key)) for key in unknown)
        records = sorted({self.own(kind, key) for kind, key in keys} - self._links.keys())
        self._links.update((record_id, set()) for record_id in records)
        for each in await aliases.links_of(school_id, records):
            self._links[each.record_id].add(each.key)

    def own(self, kind: Kind.ValueType, encoded_key: str) -> str:
        """Return the id of the record that has ``encoded_key`` in its kind's own namespace."""
        return self._holder(kind, encoded_key) or self.minter.mint(kind, encoded_key)

    def is_own(self, kind: Kind.ValueType, encoded_key: str, record_id: str) -> bool:
        """Whether ``encoded_key``, which stands for ``record_id``, is the key that the id was made from."""
        is_minted = self._holder(kind, encoded_key) is None
        return is_minted or self.minter.mint(kind, encoded_key) == record_id

    def resolve(self, kind: Kind.ValueType, key: SourceKey) -> str | None:
        """Return the id of the record that ``key`` refers to, or ``None`` where nobody knows."""
        found = self._resolved.get((kind, key))
        if found is not None:
            return found
        encoded = encode_key(key)
        known = self._holder(kind, encoded)
        found = known or (self.minter.mint(kind, encoded) if (kind, key.namespace) in self._own else None)
        if found is not None:
            self._resolved[kind, key] = found
        return found

    def learn(self, kind: Kind.ValueType, encoded_key: str, record_id: str) -> str:
        """Take note of a further key of a record; return the record that has it, the first that came."""
        holder = self._holder(kind, encoded_key)
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
        linked: Set[str] = self._linked.get(record_id, _NONE) if self._linked else _NONE
        if self._stored is not None:
            if record_id not in self._links:
                raise NotLookedUp(f"the linked keys of {record_id} were not looked up")
            linked = linked | self._links[record_id]
        return joined_keys(self.minter, record_id, {*linked, *row_keys}) if linked else row_keys

    def take_new(self) -> list[Alias]:
        """Return the aliases learnt since the last call; they must be stored before records that use them."""
        new, self._new = self._new, []
        return new

    def is_known(self, kind: Kind.ValueType, key: SourceKey) -> bool:
        """Whether what ``key`` refers to need not be looked up any more."""
        return (kind, key) in self._resolved

    def _holder(self, kind: Kind.ValueType, encoded_key: str) -> str | None:
        """Return the record whose alias the key is, ``None`` where it is no alias."""
        found = self._aliases.get((kind, encoded_key)) if self._aliases else None
        if found is None and self._stored is not None:
            if (kind, encoded_key) not in self._looked_up:
                raise NotLookedUp(f"a key of kind {kind} was not looked up")
            found = self._looked_up[kind, encoded_key]
        return found

    def _decides(self, kind: Kind.ValueType, encoded_key: str) -> bool:
        """Whether a record of ``kind`` may have the key as that of its row."""
        return (kind, decode_key(encoded_key).namespace) in self._own

    def _add(self, alias: Alias) -> None:
        self._is_as_begun &= not (alias.link or self._decides(alias.kind, alias.key))
        self._aliases[alias.kind, alias.key] = alias.record_id
        self._new.append(alias)


async def identities_of(store: Store, school_id: str, datasets: Iterable[Dataset]) -> Identities:
    """Return the school's keys, held where they are few, else looked up."""
    aliases = await store.identities.load(school_id, MOST_HELD)
    if aliases is None:
        return Identities(Minter(school_id), datasets, (), (store.identities, school_id))
    return Identities(Minter(school_id), datasets, aliases)
