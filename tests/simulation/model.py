"""The model: plain dictionaries of what each record was, version after version, and what a run may do.

It looks at the store's documents only, and works out what they must be from the rows that the MIS delivered.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.simulation.base import (
    DatasetFacts,
    Documents,
    RunFacts,
    Version,
    chain_of,
    encoded_key,
    encoded_person,
    live_of,
    require,
)
from tests.simulation.causes import Causes
from tests.simulation.choices import Choices
from tests.simulation.counters import verify_counters, verify_rows
from tests.simulation.decisions import Decisions
from tests.simulation.judging import Expected, Judge, state_after, strangers, written
from tests.simulation.meaning import KIND_OF, Key, Meaning, Reading, key_of
from tests.simulation.passing import with_passing
from tests.simulation.people import Merges, People, keys_before, merge_gone, settle, verify_identity
from tests.simulation.positions import Positions
from tests.simulation.world import Row, key_parts


class Model:
    """What the store must hold."""

    def __init__(self) -> None:
        self.histories: dict[Key, list[Version]] = {}
        self.ids: dict[Key, str] = {}
        self.people = People()
        self._records: dict[str, Key] = {}
        self._choices = Choices()
        self.judge = Judge()
        self.positions = Positions()
        self._causes = Causes()
        self._states: list[People] = [self.people]
        self._merges = Merges()
        self.postponed: set[Key] = set()
        self.published = 0

    def identify(self, key: Key, record_id: str) -> None:
        """G05: one key, one id, for ever."""
        require(self.ids.setdefault(key, record_id) == record_id, "G05", f"{key} has two ids")
        require(self._records.setdefault(record_id, key) == key, "G05", f"{record_id} is {key} too")

    def verify(self, facts: RunFacts, after: Documents) -> None:
        """Check what a run left, and take it over."""
        [head] = after["heads"].values()
        require(head["pending"] is None, "G12", "a commit is still pending")
        self.published = head["published"]
        now = self._read(after, self.published)
        meanings = {part.dataset: part.meanings(facts.reading) for part in facts.datasets}
        self.people = with_passing(self.people, facts, after, self.ids, self.identify)
        self._states, self._merges, self.postponed = [self.people], Merges(), set()
        older = {part.dataset: self._older(part, meanings[part.dataset]) for part in facts.datasets}
        self.positions.verify(facts.datasets, self.judge.held)
        for name, several in older.items():
            meanings[name] = [each for each in meanings[name] if not any(each is one for one in several)]
        expected = {
            part.dataset: self._expect(part, meanings[part.dataset], now, facts.runs)
            for part in facts.datasets
        }
        parts = {part.dataset: part for part in facts.datasets}
        self._take_people(after, parts.get("students"), meanings)
        candidates = {name: self._candidates(found) for name, found in meanings.items()}
        replaced = {name: part.replaced_meanings(facts.reading) for name, part in parts.items()}
        written = {name: self._candidates(found) for name, found in replaced.items()}
        for key in [*self.histories, *now]:
            allowed = candidates.get(key[0], {}).get(key, [])
            came_before = written.get(key[0], {}).get(key, [])
            self._verify_record(key, now, allowed, came_before, parts.get(key[0]), facts)
        before, self.histories = self.histories, now
        for part in facts.datasets:
            found = expected[part.dataset]
            self._verify_dataset(part, found, before, facts)
            if part.exact:
                self._verify_decisions(part, meanings[part.dataset], older[part.dataset], found, after)
            self._conclude(part, facts, self.published)
        self.judge.verify(after)

    def _conclude(self, part: DatasetFacts, facts: RunFacts, published: int) -> None:
        """Take note of what the next run goes on from."""
        self.positions.conclude(part)
        meanings = part.meanings(facts.reading)
        rows = self._origins(part.rows, meanings)
        for record, origins in rows.items():
            # Less than a whole snapshot proves no reading of what it found unchanged (ADR 0011).
            is_whole = part.is_snapshot and not part.targeted
            if is_whole or self.histories[record][-1].run in facts.runs:
                self._causes.confirm(record, origins, facts.reading)
        # A run that reads single rows reads all the retained ones anew where the reading changed.
        sealed = self._causes.sealed(part.dataset, facts.reading)
        for record, origins in self._origins(self._causes.rows(part.dataset), sealed).items():
            last = self.histories[record][-1]
            if record not in rows and last.run in facts.runs and last.cause == "REPROJECTION":
                self._causes.confirm(record, origins, facts.reading)
        if part.state == "SUCCEEDED" and not part.targeted and not part.retained:
            self.judge.conclude(part)
            if part.days is None:
                self._causes.seal(part, published)
                rejected = {self.people.record_of(each.key) for each in meanings if each.reason and each.key}
                self._causes.forget(rejected - set(rows))

    def _origins(self, rows: Sequence[Row], meanings: Sequence[Meaning]) -> dict[Key, list[Row]]:
        """Return those of ``rows``, which have ``meanings``, that say what the records now are, by record."""
        origins: defaultdict[Key, list[Row]] = defaultdict(list)
        for row, meaning in zip(rows, meanings, strict=True):
            if meaning.is_record and meaning.key is not None:
                record = self.people.record_of(meaning.key)
                life = self.histories.get(record)
                if life and self._matches(life[-1], meaning):
                    origins[record].append(row)
        return origins

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
            # A commit that was undone leaves a copy of the current version; only earlier ones are history.
            earlier = [past[record_id].get(number) for number in range(1, document["version"])]
            found[key] = chain_of(key, [*earlier, document])
        return found

    def _expect(
        self,
        part: DatasetFacts,
        meanings: Sequence[Meaning],
        now: dict[Key, list[Version]],
        runs: frozenset[str],
    ) -> Expected:
        """Work out what one dataset comes to, and who is who afterwards."""
        answered = {
            self.people.record_of(key_of(part.dataset, key_parts(part.dataset, row))) for row in part.hidden
        }
        settled = None
        if part.dataset == "students":
            whole = part.exact and not part.targeted and not part.expected
            complete = whole and all(each.key is not None for each in meanings)
            known = keys_before(self.histories, now, part.dataset)
            protected = self._protected(part, meanings)
            settled = settle(self.people, meanings, known, answered, protected, complete=complete)
            if complete and settled.asked and part.read_back_error:
                # It fails before anything is decided, and what waits is not written.
                part.exact, part.expected = False, {state_after(part.read_back_error)}
        if not part.exact:
            # Of a read of changes it is not known which rows came.
            is_named = part.targeted and part.asked is None and settled is None
            self.judge.judge_broken_off(part, self._deleted(part), self.histories, now, runs)
            seen = set(self._candidates(meanings)) if is_named else set[Key]()
            return Expected("", self._deleted(part), seen, settled)
        if settled is not None:
            self._states.append(settled.people)
        seen = (
            {self._states[-1].record_of(each.key) for each in meanings if each.is_record and each.key}
            if settled is None
            else settled.observed
        )
        live = live_of(self.histories, part.dataset)
        if part.targeted:
            leaving = self._deleted(part) - seen - answered
            return Expected(*self.judge.judge_changes(part, leaving, live | seen, now, runs), seen, settled)
        live |= written(now, part.dataset, runs) & live_of(now, part.dataset)  # and may be gone by its end
        were = {key for key in live if part.is_within((self.histories.get(key) or now[key])[-1])}
        absent, total = were - seen - self._protected(part, meanings), len(were | seen)
        if self._causes.is_sealed(part.dataset):
            part.withheld = strangers(seen, were, self.histories.keys())
        state, gone, postponed = self.judge.judge(part, meanings, absent, total, answered, now, runs)
        self.postponed |= postponed
        part.withheld = set() if state == "SUCCEEDED" else part.withheld
        if settled is not None:
            self._merges = merge_gone(settled, gone, self.ids)
            self._states += self._merges.after.values()
        return Expected(state, gone, seen, settled)

    def _deleted(self, part: DatasetFacts) -> set[Key]:
        """Return the live records that the MIS says it deleted; those with several numbers are left alone."""
        numbers = set(self._states[-1].ties.values())
        return (set(part.deleted) & live_of(self.histories, part.dataset)) - numbers

    def _protected(self, part: DatasetFacts, meanings: Sequence[Meaning]) -> set[Key]:
        """Return the records of which the rows say nothing: neither what they are nor that they are gone."""
        people = self._states[-1]
        rejected = (each.key for each in meanings if each.reason == "VALUE_INVALID" and each.key)
        return {*part.overtaken, *map(people.record_of, rejected)}

    def _older(self, part: DatasetFacts, meanings: Sequence[Meaning]) -> list[Meaning]:
        """Return the meanings of rows that were asked for before another run wrote their records.

        They are told from what that run wrote: a merge may have given the record more keys since.
        """
        return [
            meaning
            for meaning in meanings
            if meaning.key is not None
            and (record := self.people.record_of(meaning.key)) in part.overtaken
            and not (meaning.is_record and self._matches(self.histories[record][-1], meaning))
        ]

    def _take_people(
        self, after: Documents, part: DatasetFacts | None, meanings: Mapping[str, Sequence[Meaning]]
    ) -> None:
        """G05: check whose every further key is; a read that broke off may have brought some of them."""
        found = {
            document["key"]: self._records.get(document["record"])
            for document in after["identities"].values()
        }
        people = self._states[-1]
        if part is not None and not part.exact:
            people = self.people.copy()
            for meaning in meanings["students"]:
                person = json.dumps(meaning.person)
                if meaning.is_record and meaning.key is not None and meaning.person is not None:
                    owner = found.get(encoded_person(person))
                    if owner and person not in people.persons and owner == people.record_of(meaning.key):
                        people.persons[person] = owner
            self._states.append(people)
        expected = {encoded_person(person): record for person, record in people.persons.items()}
        expected |= {encoded_key(key): record for key, record in people.ties.items()}
        for key, record in expected.items():
            require(key in found, "G05", f"the key {key} of {record} was forgotten")
        for key, holder in found.items():
            if holder is not None:
                text = f"the key {key} is {holder}, not {expected.get(key)}"
                own = key == encoded_key(holder)
                require(expected.get(key) == holder or own, "G05", text)
        self.people = people

    def _may_be(self, meaning: Meaning, record: Key) -> bool:
        """Whether a row was about ``record`` at some moment of the run."""
        key = meaning.key
        return key is not None and meaning.is_record and any(p.record_of(key) == record for p in self._states)

    def _candidates(self, meanings: Iterable[Meaning]) -> dict[Key, list[Meaning]]:
        candidates: defaultdict[Key, list[Meaning]] = defaultdict(list)
        for meaning in meanings:
            if meaning.is_record and meaning.key is not None:
                candidates[self.people.record_of(meaning.key)].append(meaning)
        return candidates

    def expected(self, meaning: Meaning, people: People | None = None) -> tuple[dict[str, Any], list[str]]:
        """Return the body and keys of the record that a row means. References take the ids seen so far."""
        assert meaning.key is not None
        people = people or self.people
        body = dict(meaning.body)
        for name, target in meaning.refs.items():
            if (record := people.record_of(target)) in self.ids:
                body[name] = self.ids[record]
        person = None if meaning.person is None else json.dumps(meaning.person)
        if meaning.key[0] == "memberships" and person in people.persons:
            body["student_id"] = self.ids[people.persons[person]]
        own_person = person if meaning.key[0] == "students" else None
        return body, people.keys_of(people.record_of(meaning.key), meaning.key, own_person)

    def _meant(self, meaning: Meaning) -> list[tuple[dict[str, Any], list[str]]]:
        """Return what a row may have meant in the course of the run."""
        return [self.expected(meaning, people) for people in self._states]

    def _matches(self, version: Version, meaning: Meaning, *, finally_: bool = False) -> bool:
        for name, target in meaning.refs.items():
            require(name in version.body, "G09", f"{meaning.key} lost its {name}")
            for people in self._states:
                record = people.record_of(target)
                if record not in self.ids and version.body[name] not in self._records:
                    self.identify(record, version.body[name])
        found = (version.body, version.keys)
        return found == self.expected(meaning) if finally_ else found in self._meant(meaning)

    def _verify_record(
        self,
        key: Key,
        now: Mapping[Key, list[Version]],
        allowed: Sequence[Meaning],
        replaced: Sequence[Meaning],
        part: DatasetFacts | None,
        facts: RunFacts,
    ) -> None:
        before, life = self.histories.get(key, []), now.get(key, [])
        require(life[: len(before)] == before, "G12", f"{key}: versions that were published changed")
        new = life[len(before) :]
        of_rows = any(version.live and version.cause == "SOURCE" for version in new)
        require(not (of_rows and not new[-1].live), "G06", f"{key}: the run deleted what it wrote")
        for earlier, version in itertools.pairwise([None, *life]):
            if version is None or version not in new:
                continue
            require(version.run in facts.runs, "G12", f"{key} was written by another run")
            if version.cause == "IDENTITY":
                verify_identity(key, earlier, version, self._merges, self.ids, now)
                continue
            overtaken = part is not None and key in part.overtaken
            require(not overtaken, "G07", f"{key}: older rows took the place of newer ones: {version}")
            require(part is not None, "G03", f"{key} changed in a run that did not read it")
            assert part is not None
            if version.live:
                self._verify_row(key, earlier, version, [*allowed, *replaced], facts.reading)
            if earlier is not None:
                same = (earlier.body, earlier.keys) == (version.body, version.keys)
                require(version.live or same, "G04", f"{key}: the tombstone changed the last state")
                why = "DELETED_IN_MIS" if part.targeted else "UNKNOWN_ABSENCE"
                require(version.live or version.gone == why, "G01", f"{key} is {version.gone}, not {why}")
                idle = version.live == earlier.live and same
                require(not idle, "G03", f"{key}: a version changes nothing")
        if part is not None and part.exact and allowed and key not in part.withheld:
            self._verify_choice(key, life, allowed)

    def _verify_row(
        self,
        key: Key,
        earlier: Version | None,
        version: Version,
        allowed: Sequence[Meaning],
        reading: Reading,
    ) -> None:
        """Check that a row says what ``version`` is, and that its cause is told."""
        if version.cause == "REPROJECTION":
            sealed = self._causes.sealed(key[0], reading)
            allowed = [*allowed, *(each for each in sealed if self._may_be(each, key))]
        require(
            any(self._matches(version, meaning) for meaning in allowed),
            "G10" if allowed else "G08",
            f"{key}: no row says {version}; expected {list(map(self._meant, allowed))}",
        )
        self._causes.verify(key, earlier, version, reading, self._meant)

    def _verify_choice(self, key: Key, life: list[Version], allowed: Sequence[Meaning]) -> None:
        """A whole snapshot decides the record; among conflicting rows it is always the same one (G03)."""
        require(life and life[-1].live, "G10", f"{key} is in the MIS and not live")
        own = [meaning for meaning in allowed if meaning.key == key] or list(allowed)
        chosen = [each for each in own if self._matches(life[-1], each, finally_=True)]
        require(chosen, "G10", f"{key} is {life[-1]}, not {list(map(self.expected, own))}")
        self._choices.verify(key, own, chosen)

    def _verify_dataset(
        self, part: DatasetFacts, expected: Expected, before: dict[Key, list[Version]], facts: RunFacts
    ) -> None:
        dataset, gone = part.dataset, expected.gone
        dead = live_of(before, dataset) - live_of(self.histories, dataset)
        if not part.exact:
            require(dead <= gone, "G01", f"{dataset}: {sorted(dead)} tombstoned by a read that was not whole")
            require(part.state in part.expected, "G02", f"{dataset} ended {part.state}, not {part.expected}")
            require(expected.seen <= live_of(self.histories, dataset), "G10", f"{dataset}: rows are missing")
            if part.retained:
                candidates = self._candidates(self._causes.sealed(dataset, facts.reading))
                self._causes.verify_reread(part, candidates, self.histories)
                verify_counters(part, before, self.histories, facts.runs, merged=0)
            return
        require(part.state == expected.state, "G02", f"{dataset} ended {part.state}, not {expected.state}")
        require(dead <= gone, "G01", f"{dataset}: {sorted(dead - gone)} tombstoned without proof")
        require(dead == gone, "G01", f"{dataset}: {sorted(gone - dead)} left and was not tombstoned")
        for loser in set(self._merges.survivors) & dead:
            require(self.histories[loser][-1].merged_into, "G05", f"{loser} left, and was not merged")
        came = expected.seen - part.withheld
        require(came <= live_of(self.histories, dataset), "G10", f"{dataset}: not all rows arrived")
        require(not part.withheld & live_of(self.histories, dataset), "G02", f"{dataset}: strangers arrived")
        if not part.targeted:
            verify_rows(part, expected.seen)
        verify_counters(part, before, self.histories, facts.runs, merged=len(self._merges.survivors))

    def _verify_decisions(
        self,
        part: DatasetFacts,
        meanings: Sequence[Meaning],
        older: Sequence[Meaning],
        expected: Expected,
        after: Documents,
    ) -> None:
        decisions = Decisions(part.dataset, after)
        for meaning in older:
            decisions.expect("OLDER_KNOWLEDGE", meaning)
        settled = expected.settled
        undecided = [] if settled is None else settled.undecided
        for meaning in undecided:
            decisions.expect("IDENTITY_UNDECIDED", meaning)
        candidates = self._candidates(each for each in meanings if not any(each is one for one in undecided))
        bodies = {key: [self.expected(each)[0] for each in rows] for key, rows in candidates.items()}
        decisions.verify(meanings, candidates, bodies)
