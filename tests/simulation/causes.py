"""G08: what another reading of the same rows changed is never told as the school's edit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from tests.simulation.base import DatasetFacts, Version, require
from tests.simulation.meaning import Key, Meaning, Reading, meaning_of
from tests.simulation.world import Row

Fingerprint: TypeAlias = tuple[int, str]
"""What decides how the rows of a dataset are read."""

REFERENCES = ("group_id", "student_id")
"""What may change in a record although neither its row nor its reading did."""


def fingerprint(dataset: str, reading: Reading) -> Fingerprint:
    """Return what of ``reading`` concerns ``dataset``: the profile says nothing of other kinds' fields."""
    return reading.parser_version, reading.profile if dataset == "students" else ""


class Causes:
    """Under which reading each record's state came to be, and from which rows."""

    def __init__(self) -> None:
        self._read_under: dict[Key, Fingerprint] = {}
        self._origins: dict[Key, list[Row]] = {}
        self._sealed: dict[str, list[Row]] = {}
        self._sealed_at: dict[str, int] = {}
        self._overtaken: dict[str, frozenset[Key]] = {}

    def sealed(self, dataset: str, reading: Reading) -> list[Meaning]:
        """Return what the rows of the last sealed snapshot mean under ``reading``."""
        return [meaning_of(dataset, row, reading) for row in self.rows(dataset)]

    def is_sealed(self, dataset: str) -> bool:
        """Whether a whole snapshot was sealed."""
        return dataset in self._sealed

    def rows(self, dataset: str) -> list[Row]:
        """Return the rows of the last sealed snapshot."""
        return self._sealed.get(dataset, [])

    def forget(self, keys: Iterable[Key]) -> None:
        """Take note that the sealed rows of ``keys`` say nothing: the school changed what they say later."""
        for key in keys:
            self._read_under.pop(key, None)
            self._origins.pop(key, None)

    def seal(self, part: DatasetFacts, seq: int) -> None:
        """Take note of the rows of a sealed snapshot, after whose run ``seq`` was published."""
        self._sealed[part.dataset] = list(part.rows)
        self._sealed_at[part.dataset] = seq
        self._overtaken[part.dataset] = part.overtaken

    def verify_reread(
        self,
        part: DatasetFacts,
        candidates: Mapping[Key, Sequence[Meaning]],
        histories: Mapping[Key, Sequence[Version]],
    ) -> None:
        """Check that records are what the retained rows say now, unless the MIS showed them since (G07).

        ``candidates`` are the meanings of those rows, by record.
        """
        dataset = part.dataset
        reread = part.state == "SUCCEEDED"
        require(reread or dataset not in self._sealed, "G08", f"the rows of {dataset} were not read anew")
        for key in candidates if reread else ():
            life = histories[key]
            newer = any(each.seq > self._sealed_at[dataset] and each.cause == "SOURCE" for each in life)
            if newer or key in self._overtaken[dataset] or not life[-1].live:
                continue
            found = _without_references(life[-1].body)
            meant = [_without_references(meaning.body) for meaning in candidates[key]]
            require(found in meant, "G08", f"{key} is read as {found}, and its rows say {meant}")

    def confirm(self, key: Key, rows: Iterable[Row], reading: Reading) -> None:
        """Take note that a record is, under ``reading``, what ``rows`` say."""
        self._read_under[key] = fingerprint(key[0], reading)
        self._origins[key] = list(rows)

    def verify(
        self,
        key: Key,
        earlier: Version | None,
        version: Version,
        reading: Reading,
        expected: Callable[[Meaning], Iterable[tuple[dict[str, Any], list[str]]]],
    ) -> None:
        """Check the cause of a live ``version`` that a row made.

        ``expected`` returns the bodies and keys that a meaning may come to.
        """
        anew = self._read_under.get(key, fingerprint(key[0], reading)) != fingerprint(key[0], reading)
        if version.cause == "REPROJECTION":
            why = "as reprojection, and is read as before"
            # Before a snapshot is sealed, nobody can tell the two apart.
            require(
                anew or key[0] not in self._sealed, "G08", f"{key} was written {why}: {earlier} -> {version}"
            )
            return
        require(version.cause == "SOURCE", "G08", f"{key} has the cause {version.cause}")
        if not anew or earlier is None or not earlier.live or len(self._origins[key]) != 1:
            return
        if earlier.cause == "REPROJECTION" and earlier.run == version.run:
            return  # the same run read it anew before, and from retained rows of which another may have won
        [row] = self._origins[key]
        again = list(expected(meaning_of(key[0], row, reading)))
        same = any(
            _without_references(body) == _without_references(version.body) and keys == version.keys
            for body, keys in again
        )
        moved = (_references(earlier.body), earlier.keys) != (_references(version.body), version.keys)
        require(moved or not same, "G08", f"another reading of {row} was told as an edit: {version}")


def _without_references(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in REFERENCES}


def _references(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in REFERENCES}
