"""What the API must say of the model's histories: worked out from them alone, without the server's code."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import Message

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import ChangeCause, Record, SourceKey, TombstoneReason
from tests.simulation.base import Version
from tests.simulation.meaning import KIND_OF, Key
from tests.simulation.model import Model
from tests.simulation.server import SCHOOL
from tests.support.scripted import MARKS, MEMBERSHIPS

Moment: TypeAlias = int | datetime
"""A seq, or a point in time, with all that was committed by then."""


GROWING = {MEMBERSHIPS, MARKS}
"""Datasets with ever more records."""


class State(NamedTuple):
    """A record at some moment: its id, and the number of the version that it was at."""

    record_id: str
    key: Key
    number: int
    version: Version

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the order of changes."""
        return self.version.seq, self.record_id


class Answers:
    """The histories of a model, as records and changes of the API."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._records: dict[tuple[Key, int], Record] = {}

    @property
    def published(self) -> int:
        """The seq up to which the model knows everything."""
        return self._model.published

    def seq_at(self, time: datetime) -> int:
        """Return the latest commit's seq at a point in time; 0 before the first one."""
        lives = self._model.histories.values()
        return max((each.seq for life in lives for each in life if each.at <= time), default=0)

    def times(self) -> list[datetime]:
        """Return when commits were made, in order."""
        return sorted({each.at for life in self._model.histories.values() for each in life})

    def states(self, moment: Moment, datasets: Collection[str]) -> list[State]:
        """Return the records of ``datasets`` as they were at ``moment``, tombstoned ones included."""
        found: list[State] = []
        for key, life in self._model.histories.items():
            if key[0] in datasets:
                number = _known(life, moment)
                if number:
                    found.append(State(self._model.ids[key], key, number, life[number - 1]))
        return found

    def believed(self, moment: Moment, dataset: str, day: str, *, tombstones: bool) -> list[Record]:
        """Return what was believed at ``moment`` of ``day``, "" for whatever day, in the API's order.

        That is the order of the ids; kinds with ever more records stand in that of their days before.
        """
        states = [
            state
            for state in self.states(moment, (dataset,))
            if (state.version.live or tombstones) and (not day or _is_valid(state.version.body, day))
        ]
        states.sort(key=lambda state: (_first_day(state) if dataset in GROWING else "", state.record_id))
        return [self.record(state) for state in states]

    def record(self, state: State) -> Record:
        """Return a record as everybody has to see it."""
        known = self._records.get((state.key, state.number))
        if known is None:
            known = self._records[state.key, state.number] = _record_of(state)
        return known

    def change(self, state: State, base: int) -> q.Change:
        """Return what is told of a record that is ``state`` now to whoever had everything at seq ``base``."""
        change = q.Change(record=self.record(state))
        number = _known(self._model.histories[state.key], base)
        after = state.version
        left = [] if after.live else [q.CHANGE_TYPE_MERGED if after.merged_into else q.CHANGE_TYPE_LEFT]
        if not number:
            change.types.extend([q.CHANGE_TYPE_CREATED, *left])
            return change
        before = self._model.histories[state.key][number - 1]
        change.changed_fields.extend(
            name for name in _fields(change.record) if before.body.get(name) != after.body.get(name)
        )
        change.added_keys.extend(_key_of(key) for key in after.keys if key not in before.keys)
        change.removed_keys.extend(_key_of(key) for key in before.keys if key not in after.keys)
        types: list[q.ChangeType.ValueType] = []
        if change.changed_fields:
            types.append(q.CHANGE_TYPE_UPDATED)
        if change.added_keys or change.removed_keys:
            types.append(q.CHANGE_TYPE_KEYS_CHANGED)
        if (before.gone, before.merged_into) != (after.gone, after.merged_into):
            types += left or [q.CHANGE_TYPE_RETURNED]
        change.types.extend(types or [q.CHANGE_TYPE_UPDATED])
        return change


def _known(life: Sequence[Version], moment: Moment) -> int:
    """Return how many of the versions of one record had been committed at ``moment``."""
    if isinstance(moment, int):
        return sum(version.seq <= moment for version in life)
    return sum(version.at <= moment for version in life)


def _first_day(state: State) -> str:
    body = state.version.body
    return str(body.get("date", body.get("valid_from", "")))


def _is_valid(body: dict[str, Any], day: str) -> bool:
    """Whether a record is about ``day``: a mark has one, a span ends before its last one, others have all."""
    if "date" in body:
        return bool(body["date"] == day)
    return body.get("valid_from", "") <= day and ("valid_to" not in body or day < body["valid_to"])


def _record_of(state: State) -> Record:
    kind, version = KIND_OF[state.key[0]], state.version
    fields: dict[str, Any] = {kind: version.body}
    record = Record(
        id=state.record_id,
        kind=Kind.Value(f"KIND_{kind.upper()}"),
        school_id=SCHOOL,
        source_keys=[_key_of(key) for key in version.keys],
        version=state.number,
        seq=version.seq,
        run_id=version.run,
        cause=ChangeCause.Value(f"CHANGE_CAUSE_{version.cause}"),
        **fields,
    )
    record.committed_at.FromDatetime(version.at)
    if not version.live:
        record.tombstone.reason = TombstoneReason.Value(f"TOMBSTONE_REASON_{version.gone}")
        record.tombstone.at.FromDatetime(version.at)
        if version.merged_into:
            record.tombstone.merged_into = version.merged_into
    return record


def _fields(record: Record) -> list[str]:
    """Return the names of the fields that the body of ``record`` may have, in their order."""
    body: Message = getattr(record, str(record.WhichOneof("body")))
    return [field.name for field in body.DESCRIPTOR.fields]


def _key_of(encoded: str) -> SourceKey:
    namespace, *parts = json.loads(encoded)
    key = SourceKey(namespace=namespace)
    for part in parts:
        if isinstance(part, str):
            key.parts.add(text=part)
        else:
            key.parts.add(integer=part)
    return key
