"""Questions of two times beside a history: what was believed at a moment (known_at) of a day (effective_on).

They go the way of QueryRecords, from the request on. What is asked while a run goes on waits for the model to
know that run; then every answer must be the model's own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.query import Query
from schoolgate_server.store.store import Store
from tests.simulation.answers import Answers, Moment
from tests.simulation.base import require
from tests.simulation.meaning import KIND_OF
from tests.simulation.server import SCHOOL
from tests.simulation.virtual_time import START

_DAYS = ("2026-09-01", "2026-10-05", "2027-01-01", "2027-06-01", "2027-07-20")
"""Days on which spans begin and end, and a register is taken."""

_NOBODY: Any = None
"""The context of a call, which the servicer does not look at."""

_MILLISECOND = timedelta(milliseconds=1)


@dataclass
class _Pair:
    """One pair of times, asked of every kind; ``day`` "" stands for any, ``moment`` 0 for the latest seq."""

    day: str
    moment: Moment
    tombstones: bool
    answers: dict[str, tuple[int, list[Record]]] = field(default_factory=dict[str, tuple[int, list[Record]]])
    """The seq of the answer and its records, by dataset."""

    def __str__(self) -> str:
        return f"effective_on {self.day or 'any day'}, known_at {self.moment or 'the latest'}"


class Asker:
    """Asks about one school. Its draws are its own, so that histories stay what they were."""

    def __init__(self, seed: int, store: Store, clock: Clock, answers: Answers, counts: Counter[str]) -> None:
        self._random = Random(f"{seed}/asking")
        self._store = store
        self._clock = clock
        self._answers = answers
        self._counts = counts
        self._query = Query(store, asyncio.Event())
        self._waiting: list[_Pair] = []
        self._times = [START - timedelta(days=1)]

    async def ask_perhaps(self, *, during_a_run: bool = False) -> None:
        """Ask about one pair of times, or none."""
        await self.ask(self._random.randint(0, 1), during_a_run=during_a_run)

    async def ask(self, pairs: int, *, during_a_run: bool = False) -> None:
        """Ask about so many pairs of times."""
        for _ in range(pairs):
            before = (await self._store.leases.head(SCHOOL)).published
            pair = _Pair(self._day(), self._moment(before), self._random.random() < 0.3)
            size = self._random.choice((3, 7, 20, 200))
            try:
                for dataset in KIND_OF:
                    pair.answers[dataset] = await self._answer(dataset, pair, size)
            except ServiceError as error:
                # A commit that was announced may still be of that time, or come to nothing.
                unsettled = error.reason == reasons.ERROR_REASON_KNOWN_AT_UNSETTLED
                require(unsettled and during_a_run, "G12", f"{pair}: {error!r}")
                self._counts["known_at not settled yet"] += 1
                continue
            after = (await self._store.leases.head(SCHOOL)).published
            for seq, _ in pair.answers.values():
                fits = before <= seq <= after if pair.moment == 0 else seq <= after
                require(fits, "G12", f"{pair}: answered as of {seq}, published was {before} to {after}")
            self._waiting.append(pair)

    def check(self) -> None:
        """G12: compare what was answered with the model, which knows everything that is published."""
        for pair in self._waiting:
            for dataset, (seq, records) in pair.answers.items():
                expected = pair.moment or seq
                at = self._answers.seq_at(expected) if isinstance(expected, datetime) else expected
                require(seq == at, "G12", f"{pair}: answered as of {seq}, not {at}")
                believed = self._answers.believed(expected, dataset, pair.day, tombstones=pair.tombstones)
                if records != believed:
                    text = f"{pair}: {dataset} answered as of {seq}\n{records}\nnot\n{believed}"
                    require(False, "G12", text)
                self._counts["records in answers of two times"] += len(records)
        self._times = self._answers.times() or self._times
        self._counts["pairs of times"] += len(self._waiting)
        self._waiting.clear()

    async def _answer(self, dataset: str, pair: _Pair, size: int) -> tuple[int, list[Record]]:
        request = q.QueryRecordsRequest(
            school_id=SCHOOL,
            kind=Kind.Value(f"KIND_{KIND_OF[dataset].upper()}"),
            include_tombstones=pair.tombstones,
            effective_on=pair.day,
            page_size=size,
        )
        if isinstance(pair.moment, datetime):
            request.known_at.FromDatetime(pair.moment)
        else:
            request.known_at_seq = pair.moment
        records: list[Record] = []
        seqs: set[int] = set()
        async for answer in self._query.QueryRecords(request, _NOBODY):
            response = q.QueryRecordsResponse.FromString(answer.wire)
            records += response.records
            seqs.add(response.seq)
        require(len(seqs) == 1, "G12", f"{pair}: the pages of {dataset} are of {seqs}")
        return seqs.pop(), records

    def _day(self) -> str:
        if self._random.random() < 0.2:
            return ""
        day = date.fromisoformat(self._random.choice(_DAYS))
        return (day + timedelta(days=self._random.choice((-1, 0, 0, 1)))).isoformat()

    def _moment(self, published: int) -> Moment:
        chance = self._random.random()
        if chance < 0.1 or published == 0:
            return 0
        if chance < 0.5:
            return self._random.randint(1, published)
        now = self._clock()
        if chance < 0.65:
            return now
        last = self._random.random() < 0.3
        time = self._times[-1] if last else self._random.choice(self._times)
        return min(now, time + self._random.randint(-1, 1) * _MILLISECOND)
