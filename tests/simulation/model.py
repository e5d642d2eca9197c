"""The model: plain dictionaries of what each record was, version after version, and what a run may do.

It looks at the store's documents only, and works out from the rows that the MIS delivered what they must be.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tests.simulation.meaning import KIND_OF, Key, Meaning, Reading, key_of, meaning_of
from tests.simulation.world import Row, key_parts

Documents: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""Every document of the store, by collection and id."""

COUNT, FRACTION = 2, 0.4
"""Thresholds of held absences; small ones, as the simulated schools are small."""


class Version(NamedTuple):
    """One version of a record."""

    live: bool
    body: dict[str, Any]
    keys: list[str]
    seq: int
    run: str


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
    hidden: list[Row] = field(default_factory=list[Row])
    """What the MIS answers when asked for single records."""
    read_back_error: str = ""
    state: str = ""
    counters: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class RunFacts:
    """What one run did."""

    run_id: str
    reading: Reading
    datasets: list[DatasetFacts]


class Broken(AssertionError):
    """The store contradicts the model."""


def require(condition: object, guarantee: str, text: str) -> None:
    if not condition:
        raise Broken(f"{guarantee}: {text}")


class Model:
    """What the store must hold."""

    def __init__(self) -> None:
        self.histories: dict[Key, list[Version]] = {}
        self.ids: dict[Key, str] = {}
        self._keys: dict[str, Key] = {}
        self._winners: dict[tuple[Key, frozenset[str]], str] = {}
        self._sealed_under: dict[str, Reading] = {}
        self._held: dict[str, dict[Key, int]] = {}
        self._approved: dict[str, dict[Key, int]] = {}
        self._persons: dict[str, str] = {}
        self._claimed: defaultdict[str, set[str]] = defaultdict(set)

    def live(self, dataset: str) -> set[Key]:
        return {key for key, life in self.histories.items() if key[0] == dataset and life[-1].live}

    def approve(self, dataset: str) -> None:
        """Take note that an operator approved what is held: these deletions of these versions."""
        self._approved[dataset] = self._held[dataset]

    def identify(self, key: Key, record_id: str) -> None:
        """G05: one key, one id, for ever."""
        require(self.ids.setdefault(key, record_id) == record_id, "G05", f"{key} has two ids")
        require(self._keys.setdefault(record_id, key) == key, "G05", f"{record_id} is {key} too")

    def verify(self, facts: RunFacts, after: Documents) -> None:
        """Check what a run left, and take it over."""
        [head] = after["heads"].values()
        require(head["pending"] is None, "G12", "a commit is still pending")
        now = self._read(after, head["published"])
        readings = {
            part.dataset: [(row, meaning_of(part.dataset, row, facts.reading)) for row in part.rows]
            for part in facts.datasets
        }
        self._take_persons(readings, after)
        read = {part.dataset: part for part in facts.datasets}
        candidates = {name: self._candidates(found) for name, found in readings.items()}
        for key in [*self.histories, *now]:
            part = read.get(key[0])
            allowed = candidates[key[0]].get(key, []) if part else []
            self._verify_record(key, now.get(key, []), allowed, part, facts.run_id)
        before, self.histories = self.histories, now
        for part in facts.datasets:
            meanings = [meaning for _, meaning in readings[part.dataset]]
            self._verify_dataset(part, meanings, before, facts)
            if part.exact:
                self._verify_decisions(part.dataset, meanings, after)
            if part.state == "SUCCEEDED":
                self._sealed_under[part.dataset] = facts.reading
                self._held.pop(part.dataset, None)
                self._approved.pop(part.dataset, None)

    def _read(self, after: Documents, published: int) -> dict[Key, list[Version]]:
        """Return every record's versions; checks that they are without gap and follow each other (G04)."""
        past: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        for document in after["history"].values():
            past[document["id"]][document["version"]] = document
        found: dict[Key, list[Version]] = {}
        for record_id, document in after["records"].items():
            namespace, *parts = json.loads(document["keys"][0])
            key = key_of(namespace.removeprefix("scripted/"), parts)
            require(document["dataset"] == key[0] and document["kind"] == KIND_OF[key[0]], "G05", f"{key}")
            self.identify(key, record_id)
            require(document["seq"] <= published, "G12", f"{key} is written and not published")
            version = document["version"]
            # A commit that was undone leaves a copy of the current version; only earlier ones are history.
            chain = [past[record_id].get(number) for number in range(1, version)] + [document]
            lives: list[Version] = []
            for earlier, later in zip(chain, [*chain[1:], None], strict=True):
                require(earlier is not None, "G04", f"{key} lacks versions before {version}")
                assert earlier is not None
                if later is not None:
                    ends = earlier["until"] == later["seq"] and earlier["seq"] < later["seq"]
                    require(
                        ends, "G12", f"{key}: version {earlier['version']} does not end where the next begins"
                    )
                lives.append(
                    Version(earlier["live"], earlier["body"], earlier["keys"], earlier["seq"], earlier["run"])
                )
                require(earlier["live"] == ("tombstone" not in earlier), "G04", f"{key} is live and is not")
            found[key] = lives
        return found

    def _take_persons(self, readings: dict[str, list[tuple[Row, Meaning]]], after: Documents) -> None:
        """Further keys: each belongs to the first record that brought it, and stays there."""
        for dataset, found in readings.items():
            for _, meaning in found:
                if dataset == "students" and meaning.key is not None and meaning.person is not None:
                    self._claimed[json.dumps(meaning.person)].add(meaning.key[1])
        persons: dict[str, str] = {}
        for document in after["identities"].values():
            namespace, person = json.loads(document["key"])
            require(namespace == "scripted/person", "G05", f"{document['key']} is no further key")
            persons[json.dumps(person)] = document["record"]
        for person, record_id in persons.items():
            require(self._persons.get(person, record_id) == record_id, "G05", f"person {person} moved")
            owner = self._keys.get(record_id)
            if owner is not None:
                require(owner[1] in self._claimed[person], "G05", f"person {person} is {owner}")
        require(set(self._persons) <= set(persons), "G05", "a further key was forgotten")
        self._persons = persons

    def _candidates(self, found: Sequence[tuple[Row, Meaning]]) -> dict[Key, list[Meaning]]:
        candidates: defaultdict[Key, list[Meaning]] = defaultdict(list)
        for _, meaning in found:
            if meaning.is_record and meaning.key is not None:
                candidates[meaning.key].append(meaning)
        return candidates

    def expected(self, meaning: Meaning) -> tuple[dict[str, Any], list[str]]:
        """Return the body and keys of the record that a row means. References take the ids seen so far."""
        assert meaning.key is not None
        dataset, parts = meaning.key
        body = dict(meaning.body)
        for name, target in meaning.refs.items():
            if target in self.ids:
                body[name] = self.ids[target]
        keys = [_encoded(f"scripted/{dataset}", json.loads(parts))]
        if meaning.person is not None:
            holder = self._persons.get(json.dumps(meaning.person))
            if dataset == "students" and holder == self.ids.get(meaning.key):
                keys.append(_encoded("scripted/person", [meaning.person]))
            if dataset == "memberships" and holder is not None:
                body["student_id"] = holder
        return body, keys

    def _matches(self, version: Version, meaning: Meaning) -> bool:
        for name, target in meaning.refs.items():
            require(name in version.body, "G09", f"{meaning.key} lost its {name}")
            self.identify(target, version.body[name])
        return (version.body, version.keys) == self.expected(meaning)

    def _verify_record(
        self,
        key: Key,
        life: list[Version],
        allowed: Sequence[Meaning],
        part: DatasetFacts | None,
        run_id: str,
    ) -> None:
        before = self.histories.get(key, [])
        require(life[: len(before)] == before, "G12", f"{key}: versions that were published changed")
        new = life[len(before) :]
        require(part is not None or not new, "G03", f"{key} changed in a run that did not read it")
        for version in new:
            require(version.run == run_id, "G12", f"{key} was written by another run")
        living = [version for version in new if version.live]
        require(len(living) in {0, len(new)}, "G06", f"{key}: the run deleted what it wrote")
        for version in living:
            require(
                any(self._matches(version, meaning) for meaning in allowed),
                "G10" if allowed else "G08",
                f"{key}: no row says {version}; expected {list(map(self.expected, allowed))}",
            )
        for earlier, later in itertools.pairwise(life):
            same = (earlier.body, earlier.keys) == (later.body, later.keys)
            if later.run == run_id:
                require(later.live or same, "G04", f"{key}: the tombstone changed the last state")
                require(not (later.live == earlier.live and same), "G03", f"{key}: a version changes nothing")
        if part is not None and part.exact and allowed:
            self._verify_choice(key, life, allowed)

    def _verify_choice(self, key: Key, life: list[Version], allowed: Sequence[Meaning]) -> None:
        """A whole snapshot decides the record; among conflicting rows it is always the same one (G03)."""
        require(life and life[-1].live, "G10", f"{key} is in the MIS and not live")
        require(any(self._matches(life[-1], each) for each in allowed), "G10", f"{key} is {life[-1].body}")
        choices = frozenset(json.dumps(self.expected(each), sort_keys=True) for each in allowed)
        choice = json.dumps((life[-1].body, life[-1].keys), sort_keys=True)
        require(self._winners.setdefault((key, choices), choice) == choice, "G03", f"{key}: another row won")

    def _verify_dataset(
        self,
        part: DatasetFacts,
        meanings: Sequence[Meaning],
        before: dict[Key, list[Version]],
        facts: RunFacts,
    ) -> None:
        dataset, run_id = part.dataset, facts.run_id
        was_live = {key for key, life in before.items() if key[0] == dataset and life[-1].live}
        dead = was_live - self.live(dataset)
        written = [
            version
            for key, life in self.histories.items()
            if key[0] == dataset
            for version in life
            if version.run == run_id
        ]
        if not part.exact:
            require(not dead, "G01", f"{dataset}: {sorted(dead)} tombstoned by a read that was not whole")
            require(part.state in part.expected, "G02", f"{dataset} ended {part.state}, not {part.expected}")
            return
        seen = {meaning.key for meaning in meanings if meaning.is_record and meaning.key is not None}
        state, gone = self._judge(part, meanings, seen, before, facts.reading)
        require(part.state == state, "G02", f"{dataset} ended {part.state}, not {state}")
        require(dead <= gone, "G01", f"{dataset}: {sorted(dead - gone)} tombstoned without proof")
        require(dead == gone, "G01", f"{dataset}: {sorted(gone - dead)} left and was not tombstoned")
        require(seen <= self.live(dataset), "G10", f"{dataset}: not all rows arrived")
        rejected = len(meanings) - len(seen)
        counters = part.counters
        require(
            counters["rejected_rows"] == rejected,
            "G09",
            f"{dataset}: {rejected} rows were not taken: {counters}",
        )
        require(
            counters["rows_read"] == len(meanings), "G09", f"{dataset}: {len(meanings)} rows came: {counters}"
        )
        made = sum(counters[name] for name in ("created", "updated", "revived", "tombstoned"))
        require(
            made == len(written), "G03", f"{dataset}: {len(written)} versions written, counted {counters}"
        )
        created = len({key for key in self.histories if key[0] == dataset} - set(before))
        require(counters["created"] == created, "G10", f"{dataset}: {created} created, counted {counters}")

    def _judge(
        self,
        part: DatasetFacts,
        meanings: Sequence[Meaning],
        seen: set[Key],
        before: dict[Key, list[Version]],
        reading: Reading,
    ) -> tuple[str, set[Key]]:
        """Return how the dataset must end, and which records must be tombstoned."""
        if part.expected:
            [state] = part.expected
            return state, set()
        was_live = {key for key, life in before.items() if key[0] == part.dataset and life[-1].live}
        if any(meaning.key is None for meaning in meanings):
            return "INCOMPLETE", set()
        rejected = {each.key for each in meanings if each.reason == "VALUE_INVALID"}
        absent = was_live - seen - rejected
        total = len(was_live | seen)
        doubtful = (
            self._sealed_under.get(part.dataset, reading) != reading
            or len(absent) == total
            or (len(absent) > COUNT and len(absent) > FRACTION * total)
        )
        if absent and doubtful:
            held = {key: len(before[key]) for key in absent}
            if self._approved.get(part.dataset) != held:
                self._held[part.dataset] = held
                self._approved.pop(part.dataset, None)
                return "HELD", set()
        if absent and part.read_back_error:
            return "INCOMPLETE" if part.read_back_error == "Incomplete" else "FAILED", set()
        answered = {key_of(part.dataset, key_parts(part.dataset, row)) for row in part.hidden}
        if absent & answered:
            return "INCOMPLETE", set()
        return "SUCCEEDED", absent

    def _verify_decisions(self, dataset: str, meanings: Sequence[Meaning], after: Documents) -> None:
        """G09: whatever was not taken over as it came has a decision."""
        documents = [one for one in after["decisions"].values() if one["dataset"] == dataset]
        decided = {(one["reason"].removeprefix("DECISION_REASON_"), one["field"]) for one in documents}
        reasons = {reason for reason, _ in decided}
        by_key = {
            (one["reason"].removeprefix("DECISION_REASON_"), key_of(dataset, one["parts"]))
            for one in documents
            if one["parts"] is not None
        }
        for meaning in meanings:
            if meaning.reason:
                keyed = meaning.key is not None and (meaning.reason, meaning.key) in by_key
                known = keyed or (meaning.key is None and meaning.reason in reasons)
                require(known, "G09", f"no decision about {meaning}")
        for key, several in self._candidates([({}, each) for each in meanings]).items():
            expected = [self.expected(each)[0] for each in several]
            texts = {json.dumps(self.expected(each), sort_keys=True) for each in several}
            if len(several) > 1:
                reason = "DUPLICATE_ROW" if len(texts) == 1 else "CONFLICTING_ROW"
                require((reason, key) in by_key, "G09", f"no decision {reason} about {key}")
            if dataset == "memberships" and any("student_id" not in body for body in expected):
                require(("REFERENCE_UNRESOLVED", key) in by_key, "G09", f"no decision about {key}'s person")
            if dataset == "marks" and any("meaning" not in body for body in expected):
                known = ("CODE_UNMAPPED", "attendance_mark.code") in decided
                require(known, "G09", f"no decision about the code of {key}")


def _encoded(namespace: str, parts: Sequence[Any]) -> str:
    return json.dumps([namespace, *parts], ensure_ascii=False, separators=(",", ":"))
