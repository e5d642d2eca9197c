"""What the kit writes, and the desk at which checks of writes do it: one operation on one stage."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Final, TypeAlias

from schoolgate.v1.kind_pb2 import (
    KIND_ASSESSMENT_RESULT,
    KIND_ATTENDANCE_MARK,
    KIND_BEHAVIOUR_EVENT,
    KIND_STAFF,
    KIND_STUDENT,
    KIND_SUBJECT,
    Kind,
)
from schoolgate_sdk.errors import ConnectorError, Transient
from schoolgate_sdk.keys import SourceKey
from schoolgate_sdk.testing.conformance.bench import Arrival, Stage
from schoolgate_sdk.testing.conformance.comparing import Comparison, of_truth
from schoolgate_sdk.testing.conformance.outcome import CheckFailed, NotApplicable
from schoolgate_sdk.testing.conformance.silence import check_silent, texts_of
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.writing import (
    Departure,
    FindWrite,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteRows,
    WriteValue,
)

_BRITISH_SUMMER_TIME: Final = timezone(timedelta(hours=1))
POLLS: Final = 100
POLL_SECONDS: Final = 0.02

Values: TypeAlias = Mapping[str, WriteValue]
_Content: TypeAlias = frozenset[tuple[bytes, tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Kit:
    """What the kit writes: which kind comes of it, and the values, by names of the write-back service."""

    kind: Kind.ValueType
    values: Callable[[Stage, Comparison], Values]


def _someone(comparison: Comparison, kind: Kind.ValueType, place: int = 0) -> tuple[int | str, SourceKey]:
    """Return the world's number and the MIS's key of one of a kind."""
    found: list[tuple[int | str, SourceKey]] = []
    for key, ours in comparison.pairs.items():
        number = key[1][0]
        if key[0] == kind and isinstance(number, int | str):
            found.append((number, ours))
    if len(found) <= place:
        raise NotApplicable("nobody arrived whom a write could be about")
    return found[place]


def _mark(stage: Stage, comparison: Comparison) -> Values:
    number, student = _someone(comparison, KIND_STUDENT, 3)
    mark = next(mark for mark in stage.world.marks() if mark.pupil == number)
    return {
        "student_id": student,
        "date": mark.date.isoformat(),
        "session": mark.session,
        "code": "L" if mark.code != "L" else "I",
        "comment": "Bus was late",
    }


def _event(stage: Stage, comparison: Comparison) -> Values:
    student, staff = _someone(comparison, KIND_STUDENT, 4)[1], _someone(comparison, KIND_STAFF)[1]
    code = next(
        str(getattr(truth.message, "type_code", ""))
        for truth in stage.bench.expectation.truths(stage.world)
        if truth.kind == KIND_BEHAVIOUR_EVENT
    )
    at = datetime.combine(stage.world.year.days[6], time(11, 20), _BRITISH_SUMMER_TIME)
    return {
        "student_id": student,
        "type_code": code,
        "occurred_at": at.isoformat(),
        "staff_id": staff,
        "points": 2,
        "comment": "Helped to carry chairs",
    }


def _result(stage: Stage, comparison: Comparison) -> Values:
    student, subject = _someone(comparison, KIND_STUDENT, 5)[1], _someone(comparison, KIND_SUBJECT)[1]
    return {
        "student_id": student,
        "assessment_name": "Kit's own test",
        "result": "7",
        "date": stage.world.today.isoformat(),
        "subject_id": subject,
    }


OPERATIONS: Final[dict[str, Kit]] = {
    "record_attendance_mark": Kit(KIND_ATTENDANCE_MARK, _mark),
    "record_behaviour_event": Kit(KIND_BEHAVIOUR_EVENT, _event),
    "record_assessment_result": Kit(KIND_ASSESSMENT_RESULT, _result),
}
"""By the name of the operation."""


class Desk:
    """One operation on one stage: sends, finds out, and counts what it did to the world.

    ``left`` has what the connector announced, each with the number of effects that there were by then.
    """

    def __init__(self, stage: Stage, operation: WriteOperation, arrival: Arrival) -> None:
        kit = OPERATIONS[operation.name]
        self.stage = stage
        self.operation = operation
        self.kind = kit.kind
        self.left: list[tuple[Departure, int]] = []
        values = kit.values(stage, stage.compare(arrival))
        names = {*operation.required, *operation.optional}
        missing = sorted({*operation.required} - values.keys())
        if missing:
            raise CheckFailed(
                f"{operation.name} requires {missing[0]}, which the write-back service does not have",
                f"require values out of: {', '.join(values)}",
            )
        given = {name: value for name, value in values.items() if name in names}
        self.request = WriteRequest(
            operation.name, "kit-1", given, stage.bench.now().astimezone(UTC), self._leave
        )
        self._before = self._there()
        self._read_before = self._contents(arrival)

    def _leave(self, departure: Departure) -> None:
        self.left.append((departure, self.effects()))

    def _contents(self, arrival: Arrival) -> dict[SourceKey, _Content]:
        """Return what arrived of the kind, by source key."""
        found: dict[SourceKey, _Content] = {}
        for parsed in arrival.parsed:
            if parsed.kind == self.kind:
                content = (parsed.message.SerializeToString(deterministic=True), tuple(parsed.refs))
                found[parsed.key] = found.get(parsed.key, frozenset()) | {content}
        return found

    async def check_keys(self, *receipts: WriteReceipt) -> str:
        """Return what is to be said of the keys that receipts tell; raises ``CheckFailed`` where the effect
        is not read under them.
        """
        told = {key for receipt in receipts for key in receipt.keys}
        dataset = self.stage.bench.of_kind(self.kind)
        if not told or dataset is None:
            return "keys: not told"
        now = self._contents(await self.stage.arrive([dataset]))
        read = {key for key, content in now.items() if self._read_before.get(key) != content}
        if told != read:
            raise CheckFailed(
                f"{self.operation.name} is said to have the keys {_shown(told)}, and its effect is read "
                f"under {_shown(read)}",
                "tell the keys that the parser gives to the rows of it; or none where they are not known",
            )
        return "read under the keys that were told"

    def _there(self) -> Counter[Hashable]:
        found: Counter[Hashable] = Counter()
        for truth in self.stage.world.canonical():
            if truth.kind == self.kind:
                entity = of_truth(truth)
                found[frozenset(entity.fields.items()), frozenset(entity.refs.items())] += 1
        return found

    def effects(self) -> int:
        """Return how many entities of the world are new or other than before."""
        return (self._there() - self._before).total()

    def lose(self, kind: str, times: int | None = 1) -> None:
        """Let the simulator make a fault of writes."""
        entity = self.operation.entities[0] if self.operation.entities else None
        self.stage.fault(Fault(kind=kind, entity=entity, times=times))

    async def send(self, session: WriteRows) -> WriteReceipt:
        """Send, and wait until the MIS is done with it."""
        receipt = await session.write(self.request)
        if not receipt.pending:
            return receipt
        settled = await self.find(session, receipt)
        if settled is None:
            raise CheckFailed(
                f"{self.operation.name}: write returned a receipt, and find_write says that nothing came",
                "return None only where the MIS says that it refused",
            )
        return settled

    async def find(self, session: object, receipt: WriteReceipt | None) -> WriteReceipt | None:
        """Find out what became of it, asking again while that is not decided."""
        if not isinstance(session, FindWrite):
            raise NotApplicable("the session has no find_write()")
        for _ in range(POLLS):
            try:
                found = await session.find_write(self.request, receipt)
            except Transient:
                found = receipt or WriteReceipt(pending="unknown")
            if found is None or not found.pending:
                return found
            receipt = found if found.pending != "unknown" else receipt
            await asyncio.sleep(POLL_SECONDS)
        raise CheckFailed(
            f"{self.operation.name}: what became of the write is never decided",
            "let find_write say so once the MIS is done; let the simulator be done at once, or soon",
        )

    def expect(self, effects: int, when: str, next_step: str) -> None:
        """Raise ``CheckFailed`` where it took effect more or less often than it may."""
        found = self.effects()
        if found != effects:
            raise CheckFailed(f"{self.operation.name} took effect {found} times {when}", next_step)

    def check_silent(self, error: ConnectorError) -> None:
        """Raise ``CheckFailed`` where an error quotes what was to be written, or what no error may."""
        comment = self.request.values.get("comment")
        check_silent(self.stage, texts_of(error), {str(comment): "the comment"} if comment else {})


def _shown(keys: set[SourceKey]) -> str:
    return ", ".join(sorted(map(repr, keys))) or "none"
