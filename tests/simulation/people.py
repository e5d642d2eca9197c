"""Who is who: the model's own account of re-keyed and merged pupils.

A pupil has the number of a row and a further key, the person number, which belongs to the first pupil that
brought it. What it means that a pupil's row brings another one's person number is known once a read was
complete: a new number beside a pupil whose row is gone is that pupil; a known pupil beside one whose row is
gone is the pupil that both were merged into.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.simulation.base import Version, encoded_key, encoded_person, require
from tests.simulation.causes import REFERENCES
from tests.simulation.meaning import Key, Meaning


@dataclass
class People:
    """Whose the keys are.

    A record is named by the key that its id was made from. ``ties`` maps the other keys that stand for it,
    ``persons`` further keys (as JSON); ``kept`` has the keys that records keep whatever their rows say.
    """

    ties: dict[Key, Key] = field(default_factory=dict[Key, Key])
    persons: dict[str, Key] = field(default_factory=dict[str, Key])
    kept: dict[Key, set[str]] = field(default_factory=dict[Key, set[str]])

    def copy(self) -> People:
        return copy.deepcopy(self)

    def record_of(self, key: Key) -> Key:
        return self.ties.get(key, key)

    def keys_of(self, record: Key, row_key: Key, person: str | None) -> list[str]:
        """Return the keys of a record whose row has ``row_key`` and brings ``person``."""
        keys = [encoded_key(row_key)]
        if person is not None and self.persons.get(person) == record:
            keys.append(encoded_person(person))
        return self.joined(record, keys) if record in self.kept else keys

    def joined(self, record: Key, keys: Iterable[str]) -> list[str]:
        """Return ``keys`` and those that the record keeps: its first one, then by their text."""
        every = {*keys, *self.kept[record]}
        return sorted(every, key=lambda one: (one != encoded_key(record), one))

    def _aliases(self, record: Key) -> set[str]:
        numbers = {encoded_key(key) for key, target in self.ties.items() if target == record}
        numbers.add(encoded_key(record))
        return numbers | {encoded_person(one) for one, owner in self.persons.items() if owner == record}

    def rekey(self, record: Key, new: Key, keys: Iterable[str]) -> None:
        """Let ``new`` be another number of ``record``, which has ``keys`` so far."""
        self.ties[new] = record
        self.kept.setdefault(record, set()).update(keys, [encoded_key(new)])

    def merge(self, loser: Key, survivor: Key) -> None:
        """Let every key of ``loser`` stand for ``survivor``."""
        keys = self._aliases(loser) | self._aliases(survivor)
        for key in [loser, *(key for key, record in self.ties.items() if record == loser)]:
            self.ties[key] = survivor
        for person in [one for one, record in self.persons.items() if record == loser]:
            self.persons[person] = survivor
        self.kept.pop(loser, None)
        self.kept.setdefault(survivor, set()).update(keys)


@dataclass
class Settled:
    """What one read said about who is who.

    ``merges`` maps pupils whose person number a known pupil brings to that one; to ``None`` where several do.
    ``undecided`` are the rows that are left out until a complete read; ``asked`` those that others claim.
    """

    people: People
    observed: set[Key] = field(default_factory=set[Key])
    merges: dict[Key, Key | None] = field(default_factory=dict[Key, Key | None])
    undecided: list[Meaning] = field(default_factory=list[Meaning])
    relinked: list[Meaning] = field(default_factory=list[Meaning])
    asked: set[Key] = field(default_factory=set[Key])


@dataclass
class Merges:
    """The merges of one run: ``survivors`` by loser, and who was who ``after`` each, in their order."""

    survivors: dict[Key, Key] = field(default_factory=dict[Key, Key])
    after: dict[Key, People] = field(default_factory=dict[Key, People])


def keys_before(
    before: Mapping[Key, Sequence[Version]], now: Mapping[Key, Sequence[Version]], dataset: str
) -> dict[Key, list[str]]:
    """Return the keys that the records of ``dataset`` had when rows were settled, ``before`` being published.

    Retained rows may have been read anew in the same run before that, and another of several be chosen.
    """
    keys: dict[Key, list[str]] = {}
    for key, life in before.items():
        if key[0] == dataset:
            anew = [each for each in now[key][len(life) : -1] if each.cause == "REPROJECTION"]
            keys[key] = [*life, *anew][-1].keys
    return keys


def merge_gone(settled: Settled, gone: Iterable[Key], ids: Mapping[Key, str]) -> Merges:
    """Let those who left, and whose person number a known pupil brings, be that one, in order of their id."""
    merges, people = Merges(), settled.people
    for loser in sorted(gone, key=ids.__getitem__):
        survivor = settled.merges.get(loser)
        if survivor is not None and survivor in settled.observed:
            people = people.copy()
            people.merge(loser, survivor)
            merges.survivors[loser], merges.after[loser] = survivor, people
    return merges


def settle(
    before: People,
    meanings: Sequence[Meaning],
    known: Mapping[Key, Sequence[str]],
    answered: Collection[Key],
    protected: Collection[Key],
    *,
    complete: bool,
) -> Settled:
    """Return what the rows of one read of pupils, in their order, make of ``before``.

    ``known`` maps the stored records to their keys, ``answered`` are those that the MIS has
    when asked for each, ``protected`` those whose rows came and were not taken.
    """
    people = before.copy()
    found = Settled(people)
    waiting: list[tuple[Meaning, str]] = []
    for meaning in meanings:
        if not meaning.is_record or meaning.key is None:
            continue
        record = people.record_of(meaning.key)
        if meaning.person is not None:
            person = json.dumps(meaning.person)
            holder = people.persons.setdefault(person, record)
            if holder != record and (record in known or record in found.observed):
                if found.merges.setdefault(holder, record) != record:
                    found.merges[holder] = None
            elif holder != record and holder in known:
                waiting.append((meaning, person))
                continue
        found.observed.add(record)
    claimants: defaultdict[Key, set[Key]] = defaultdict(set)
    for meaning, person in waiting:
        assert meaning.key is not None
        claimants[people.persons[person]].add(people.record_of(meaning.key))
    found.asked = set(claimants) - found.observed - set(protected)
    there = {*answered, *protected}
    for meaning, person in waiting:
        _decide(found, meaning, person, claimants, there, known, complete=complete)
    return found


def _decide(
    found: Settled,
    meaning: Meaning,
    person: str,
    claimants: Mapping[Key, Collection[Key]],
    there: Collection[Key],
    known: Mapping[Key, Sequence[str]],
    *,
    complete: bool,
) -> None:
    assert meaning.key is not None
    people = found.people
    record, holder = people.record_of(meaning.key), people.persons[person]
    if record != holder and record in found.observed:  # by another row of its entity
        if len(claimants[holder]) == 1 and found.merges.setdefault(holder, record) != record:
            found.merges[holder] = None
        return
    alone = len(claimants[holder]) == 1 and holder not in there and holder not in found.observed
    if record != holder and alone and complete:
        people.rekey(holder, meaning.key, [*known[holder], encoded_person(person)])
        found.observed.add(holder)
        found.relinked.append(meaning)
    elif record != holder and not complete and holder not in found.observed:
        found.undecided.append(meaning)
    else:
        found.observed.add(record)


def verify_identity(
    key: Key,
    earlier: Version | None,
    version: Version,
    merges: Merges,
    ids: Mapping[Key, str],
    now: Mapping[Key, Sequence[Version]],
) -> None:
    """Check a version that a merge made: of the loser, of the survivor, or of what refers to one.

    ``ids`` maps records to their ids, ``now`` to all of their versions.
    """
    require(earlier is not None, "G05", f"{key} came into being by a merge")
    assert earlier is not None
    if not version.live:
        survivor = merges.survivors.get(key)
        into = None if survivor is None else ids[survivor]
        require(version.merged_into == into, "G05", f"{key} is merged into {version.merged_into}, not {into}")
        require(version.gone == "MERGED", "G05", f"{key} was merged, and is {version.gone}")
        same = (earlier.body, earlier.keys) == (version.body, version.keys)
        require(same, "G04", f"{key}: the tombstone changed the last state")
        return
    moved = {ids[loser]: ids[survivor] for loser, survivor in merges.survivors.items()}
    pointed = {
        name: moved.get(value, value) if name in REFERENCES else value for name, value in earlier.body.items()
    }
    refers = pointed != earlier.body and (version.body, version.keys) == (pointed, earlier.keys)
    survives = any(
        # Several may be merged into one, each in a commit of its own: at its seq, it has that one's keys too.
        survivor == key
        and now[loser][-1].seq == version.seq
        and version.keys == merges.after[loser].joined(key, earlier.keys)
        for loser, survivor in merges.survivors.items()
    )
    survives = survives and version.body == earlier.body and version.keys != earlier.keys
    require(refers or survives, "G05", f"{key}: no merge makes {earlier} {version}")
