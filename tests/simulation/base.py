"""What the model's parts speak about: documents, versions, and what one run did."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from tests.simulation.meaning import YEAR, Days, Key, Meaning, Reading, meaning_of
from tests.simulation.world import Row

Documents: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""Every document of the store, by collection and id."""

COUNT, FRACTION = 2, 0.4
"""Thresholds of held absences; small ones, as the simulated schools are small."""
STRANGE_ABOVE = 20
"""Where more records are live, a snapshot that has others and none of them looks like another school's."""


class Version(NamedTuple):
    """One version of a record."""

    live: bool
    body: dict[str, Any]
    keys: list[str]
    seq: int
    at: datetime
    """When it was committed."""
    run: str
    cause: str
    gone: str
    """Why it is tombstoned; "" where it is live."""
    merged_into: str


@dataclass
class DatasetFacts:
    """What one run did with one dataset.

    ``exact``: every page was delivered and taken, so that the outcome is certain. Otherwise any part of
    ``rows`` may have been taken.
    """

    dataset: str
    rows: list[Row]
    exact: bool
    expected: set[str]
    """States that it may end in, where they do not depend on what is absent."""
    replaced: list[Row] = field(default_factory=list[Row])
    """Rows that came before a crash, and were asked for again after it."""
    hidden: list[Row] = field(default_factory=list[Row])
    """What the MIS answers when asked for single records."""
    read_back_error: str = ""
    state: str = ""
    withheld: set[Key] = field(default_factory=set[Key])
    """Records of its rows that are kept back, for it has none of those that were there."""
    targeted: bool = False
    """Only ``rows`` were asked for, by their keys."""
    days: Days | None = None
    """Only rows of these days were asked for."""
    position: int | None = None
    """Up to where changes are known after it, if it ended well; ``None`` where that is as before."""
    asked: int | None = None
    """After which position changes were read."""
    deleted: list[Key] = field(default_factory=list[Key])
    """What the MIS said was deleted."""
    passing: list[Row] = field(default_factory=list[Row])
    """What a read of changes brought that was then given up for a whole read, or what came when single
    records were asked for to see whether they are gone.
    """
    retained: bool = False
    """Nothing was asked for: the rows of the last sealed snapshot were read anew."""
    counters: dict[str, int] = field(default_factory=dict[str, int])
    overtaken: frozenset[Key] = frozenset()
    """Records that another run wrote after some of ``rows`` had been asked for."""

    @property
    def is_snapshot(self) -> bool:
        """Whether what came is all that there is, or all of those that were named."""
        return self.exact and self.asked is None and self.days is None

    @property
    def layer(self) -> str:
        """What kind of read it was, for a summary."""
        whole = "whole read" if self.days is None else "window"
        whole = "reading of changes" if self.asked is not None else whole
        return "reprojection" if self.retained else whole

    def meanings(self, reading: Reading) -> list[Meaning]:
        """Return what the rows mean."""
        return [self._meaning(row, reading) for row in self.rows]

    def replaced_meanings(self, reading: Reading) -> list[Meaning]:
        """Return what the rows mean that were asked for again: a run may have written them before."""
        return [self._meaning(row, reading) for row in self.replaced]

    def _meaning(self, row: Row, reading: Reading) -> Meaning:
        return meaning_of(self.dataset, row, reading, self.days or YEAR)

    def is_within(self, version: Version) -> bool:
        """Whether a record that is as ``version`` says was asked for."""
        return self.days is None or self.days[0] <= version.body["date"] < self.days[1]


@dataclass
class RunFacts:
    """What one run did, or several between which nothing changed in the MIS."""

    runs: frozenset[str]
    reading: Reading
    datasets: list[DatasetFacts]


class Broken(AssertionError):
    """The store contradicts the model."""


def require(condition: object, guarantee: str, text: str) -> None:
    if not condition:
        raise Broken(f"{guarantee}: {text}")


def encoded(namespace: str, parts: Sequence[Any]) -> str:
    """Return a key as the store's documents have it."""
    return json.dumps([namespace, *parts], ensure_ascii=False, separators=(",", ":"))


def encoded_key(key: Key) -> str:
    """Return the key of a row as the store's documents have it."""
    return encoded(f"scripted/{key[0]}", json.loads(key[1]))


def encoded_person(person: str) -> str:
    """Return a further key; ``person`` is its part as JSON."""
    return encoded("scripted/person", [json.loads(person)])


def chain_of(key: Key, documents: Sequence[dict[str, Any] | None]) -> list[Version]:
    """Return the versions of one record, each of which ends where the next one begins."""
    lives: list[Version] = []
    for earlier, later in itertools.pairwise([*documents, {}]):
        require(earlier is not None, "G04", f"{key} lacks versions before {len(documents)}")
        assert earlier is not None
        if later:
            ends = earlier["until"] == later["seq"] and earlier["seq"] < later["seq"]
            text = f"{key}: version {earlier['version']} does not end where the next begins"
            require(ends, "G12", text)
        tombstone = earlier.get("tombstone", {})
        require(earlier["live"] == (not tombstone), "G04", f"{key} is live and is not")
        named = {name: earlier[name] for name in ("live", "body", "keys", "seq", "at", "run", "cause")}
        gone, merged_into = (tombstone.get(name, "") for name in ("reason", "merged_into"))
        lives.append(Version(**named, gone=gone, merged_into=merged_into))
    return lives


def live_of(histories: Mapping[Key, Sequence[Version]], dataset: str) -> set[Key]:
    """Return the records of ``dataset`` that are live."""
    return {key for key, life in histories.items() if key[0] == dataset and life[-1].live}
