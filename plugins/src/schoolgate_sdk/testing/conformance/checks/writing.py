"""Writes: one effect each, whatever becomes of the answer, and the truth about what became of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Final

from schoolgate.v1.kind_pb2 import (
    KIND_ASSESSMENT_RESULT,
    KIND_ATTENDANCE_MARK,
    KIND_BEHAVIOUR_EVENT,
    KIND_STAFF,
    KIND_STUDENT,
    KIND_SUBJECT,
    Kind,
)
from schoolgate_sdk.errors import ConnectorError, Incomplete, Transient
from schoolgate_sdk.keys import SourceKey
from schoolgate_sdk.testing.conformance.bench import Bench, Stage
from schoolgate_sdk.testing.conformance.comparing import Comparison, of_truth
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable
from schoolgate_sdk.testing.conformance.silence import check_silent, texts_of
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.writing import (
    FindWrite,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteRows,
    WriteSafety,
    WriteValue,
)

_BRITISH_SUMMER_TIME: Final = timezone(timedelta(hours=1))
_POLLS: Final = 100
_POLL_SECONDS: Final = 0.02
_EFFECT_LOST: Final = ("error_after_effect", "lost_answer")

Values = Mapping[str, WriteValue]


@dataclass(frozen=True, slots=True)
class _Kit:
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


_OPERATIONS: Final[dict[str, _Kit]] = {
    "record_attendance_mark": _Kit(KIND_ATTENDANCE_MARK, _mark),
    "record_behaviour_event": _Kit(KIND_BEHAVIOUR_EVENT, _event),
    "record_assessment_result": _Kit(KIND_ASSESSMENT_RESULT, _result),
}


class _Desk:
    """One operation on one stage: sends, finds out, and counts what it did to the world."""

    def __init__(self, stage: Stage, operation: WriteOperation, comparison: Comparison) -> None:
        kit = _OPERATIONS[operation.name]
        self.stage = stage
        self.operation = operation
        self.kind = kit.kind
        values = kit.values(stage, comparison)
        names = {*operation.required, *operation.optional}
        missing = sorted({*operation.required} - values.keys())
        if missing:
            raise CheckFailed(
                f"{operation.name} requires {missing[0]}, which the write-back service does not have",
                f"require values out of: {', '.join(values)}",
            )
        given = {name: value for name, value in values.items() if name in names}
        self.request = WriteRequest(operation.name, "kit-1", given, stage.bench.now().astimezone(UTC))
        self._before = self._there()

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
        for _ in range(_POLLS):
            try:
                found = await session.find_write(self.request, receipt)
            except Transient:
                found = receipt or WriteReceipt(pending="unknown")
            if found is None or not found.pending:
                return found
            receipt = found if found.pending != "unknown" else receipt
            await asyncio.sleep(_POLL_SECONDS)
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


async def _took_effect(desk: _Desk, session: WriteRows) -> str:
    receipt = await desk.send(session)
    desk.expect(1, "when it was sent once", "let the simulator do to the world what the MIS would do")
    found = await desk.find(session, receipt) if desk.operation.safety is not WriteSafety.NONE else receipt
    if found is None:
        raise CheckFailed(
            f"{desk.operation.name} took effect, and find_write says that it did not",
            "look for it by what the operation's safety names",
        )
    dataset = desk.stage.bench.of_kind(desk.kind)
    if dataset is not None:
        arrival = await desk.stage.arrive()
        differences = desk.stage.compare(arrival).of([desk.kind])
        if differences:
            raise CheckFailed(
                f"what was written is read otherwise: {differences[0]}", "see which of the two is wrong"
            )
    return f"one effect, {desk.operation.safety.value}; MIS ids: {', '.join(receipt.mis_ids) or 'not told'}"


async def _lost_answer(desk: _Desk, session: WriteRows) -> str:
    able = [kind for kind in _EFFECT_LOST if kind in desk.stage.bench.target.faults]
    if not able:
        raise CheckFailed(
            "the simulator cannot lose the answer to a write that took effect",
            "let it make error_after_effect or lost_answer; or waive this check with unchecked(…)",
        )
    desk.lose(able[0])
    await _unknown(desk, session, f"the answer is lost ({able[0]})")
    desk.expect(1, f"when its answer was lost ({able[0]})", "never send a write again by yourself")
    if desk.operation.safety is WriteSafety.NONE:
        return f"Transient after {able[0]}; nothing can be found out, and so it is declared"
    found = await _find_or_stop(desk, session)
    if found is None:
        raise CheckFailed(
            f"{desk.operation.name} took effect, its answer was lost, and find_write says that it did not",
            "return None only where it provably did not; else raise Transient or Incomplete",
        )
    desk.expect(1, "after it was found", "let find_write only read")
    return f"Transient after {able[0]}, then found by {desk.operation.safety.value}"


async def _find_or_stop(desk: _Desk, session: WriteRows) -> WriteReceipt | None:
    try:
        return await desk.find(session, None)
    except Incomplete as error:
        raise CheckFailed(
            f"{desk.operation.name} declares {desk.operation.safety.value}, and the only write of its kind "
            f"is not told apart: {error}",
            "compare all that the natural key names; or declare WriteSafety.NONE",
        ) from error


async def _unknown(desk: _Desk, session: WriteRows, when: str) -> None:
    """Send where the answer says nothing; that has to be ``Transient``."""
    try:
        await session.write(desk.request)
    except Transient as error:
        desk.stage.clear_faults()
        desk.check_silent(error)
        return
    except ConnectorError as error:
        raise CheckFailed(
            f"{desk.operation.name}: {when}, and write raises {type(error).__name__}",
            "raise Transient where the outcome is not known",
        ) from error
    raise CheckFailed(
        f"{desk.operation.name}: {when}, and write returns a receipt",
        "send once, and raise Transient where the outcome is not known; never retry a write",
    )


async def _no_effect(desk: _Desk, session: WriteRows) -> str:
    desk.lose("error_before_effect")
    await _unknown(desk, session, "it is answered with HTTP 500")
    desk.expect(0, "though it was refused and not sent again", "never send a write again by yourself")
    if desk.operation.safety is not WriteSafety.NONE and await _find_or_stop(desk, session) is not None:
        raise CheckFailed(
            f"{desk.operation.name} took no effect, and find_write says that it did",
            "look for all that the natural key names: an earlier or a like one is another",
        )
    await desk.send(session)
    desk.expect(1, "when it was sent again after it had no effect", "send what is asked for")
    return "found not to have happened; sent again, one effect"


async def _twice(desk: _Desk, session: WriteRows) -> str:
    safety = desk.operation.safety
    await desk.send(session)
    if safety is WriteSafety.NATIVE_KEY:
        await desk.send(session)
        desk.expect(1, "when it was sent twice under one key", "send the idempotency key to the MIS")
        return "sent twice under one key, one effect"
    if safety is WriteSafety.NONE:
        raise NotApplicable("declared as NONE: it is never sent again by itself")
    # What the server does before it sends anything a second time.
    if await _find_or_stop(desk, session) is None:
        raise CheckFailed(
            f"{desk.operation.name} would be sent twice: without its receipt its effect is not found",
            "find it by what the operation's safety names",
        )
    desk.expect(1, "when it was asked for twice", "let find_write only read")
    return f"asked for twice, found by {safety.value}, one effect"


async def _refused(desk: _Desk, session: WriteRows) -> str:
    student = desk.request.values.get("student_id")
    if not isinstance(student, SourceKey):
        raise NotApplicable("it is about no pupil")
    stray = student._replace(parts=(2_000_000_011 if isinstance(student.parts[0], int) else "Z-nobody",))
    request = WriteRequest(desk.operation.name, "kit-2", {**desk.request.values, "student_id": stray})
    try:
        receipt = await session.write(request)
        if receipt.pending and isinstance(session, FindWrite):
            for _ in range(_POLLS):
                found = await session.find_write(request, receipt)
                if found is None:
                    break
                await asyncio.sleep(_POLL_SECONDS)
            else:
                raise CheckFailed("a write about nobody is never refused", "refuse it in the simulator")
    except Transient as error:
        raise CheckFailed(
            f"{desk.operation.name} about somebody whom the MIS does not know raises Transient",
            "raise Unsupported, or what the MIS's refusal means: it is known to have had no effect",
        ) from error
    except ConnectorError as error:
        desk.expect(0, "though it was refused", "see what the simulator does")
        desk.check_silent(error)
        return f"about nobody: {type(error).__name__}, and no effect"
    desk.expect(0, "though it is about nobody", "let the simulator refuse whom it does not know")
    return "about nobody: refused in the end, and no effect"


_Run = Callable[[_Desk, WriteRows], Awaitable[str]]


def _check(operation: str, name: str, says: str, run: _Run) -> Check:
    async def checked(bench: Bench) -> str:
        described = next((each for each in bench.connector.writes if each.name == operation), None)
        if described is None:
            raise NotApplicable("the connector does not write it")
        async with bench.stage() as stage:
            comparison = stage.compare(await stage.arrive())
            async with stage.session() as session:
                if not isinstance(session, WriteRows):
                    raise CheckFailed("writes are described, and the session is no WriteRows", "implement it")
                return await run(_Desk(stage, described, comparison), session)

    return Check(f"write.{operation}.{name}", says, checked)


CHECKS: tuple[Check, ...] = tuple(
    _check(operation, name, says, run)
    for operation in _OPERATIONS
    for name, says, run in (
        ("effect", "A write takes effect once, is found, and is read as it was written.", _took_effect),
        ("lost_answer", "Where the answer is lost, that is said, and the effect is found.", _lost_answer),
        ("no_effect", "What had no effect is found not to have happened.", _no_effect),
        ("twice", "Asked for twice, it takes effect once.", _twice),
        ("refused", "What the MIS refuses is known to be refused.", _refused),
    )
)
