"""Writes: one effect each, whatever becomes of the answer, and the truth about what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from schoolgate_sdk.errors import ConnectorError, Incomplete, Transient, WriteStopped
from schoolgate_sdk.keys import SourceKey
from schoolgate_sdk.testing.conformance.bench import Bench
from schoolgate_sdk.testing.conformance.checks.writing_desk import OPERATIONS, POLL_SECONDS, POLLS, Desk
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable
from schoolgate_sdk.writing import Departure, FindWrite, WriteReceipt, WriteRequest, WriteRows, WriteSafety

_EFFECT_LOST: Final = ("error_after_effect", "lost_answer")


async def _took_effect(desk: Desk, session: WriteRows) -> str:
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
    keys = await desk.check_keys(receipt, found)
    ids = ", ".join(receipt.mis_ids) or "not told"
    return f"one effect, {desk.operation.safety.value}; MIS ids: {ids}; {keys}"


async def _lost_answer(desk: Desk, session: WriteRows) -> str:
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
    await desk.check_keys(found)
    return f"Transient after {able[0]}, then found by {desk.operation.safety.value}"


async def _find_or_stop(desk: Desk, session: WriteRows) -> WriteReceipt | None:
    try:
        return await desk.find(session, None)
    except Incomplete as error:
        raise CheckFailed(
            f"{desk.operation.name} declares {desk.operation.safety.value}, and the only write of its kind "
            f"is not told apart: {error}",
            "compare all that the natural key names; or declare WriteSafety.NONE",
        ) from error


async def _unknown(desk: Desk, session: WriteRows, when: str) -> None:
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


async def _no_effect(desk: Desk, session: WriteRows) -> str:
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


async def _twice(desk: Desk, session: WriteRows) -> str:
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


async def _refused(desk: Desk, session: WriteRows) -> str:
    student = desk.request.values.get("student_id")
    if not isinstance(student, SourceKey):
        raise NotApplicable("it is about no pupil")
    stray = student._replace(parts=(2_000_000_011 if isinstance(student.parts[0], int) else "Z-nobody",))
    request = WriteRequest(desk.operation.name, "kit-2", {**desk.request.values, "student_id": stray})
    try:
        receipt = await session.write(request)
        if receipt.pending and isinstance(session, FindWrite):
            for _ in range(POLLS):
                found = await session.find_write(request, receipt)
                if found is None:
                    break
                await asyncio.sleep(POLL_SECONDS)
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


def _check_announces(desk: Desk) -> None:
    if not desk.operation.announces:
        raise NotApplicable("the operation does not announce")


async def _announced(desk: Desk, session: WriteRows) -> str:
    _check_announces(desk)
    await desk.send(session)
    desk.expect(1, "when it was sent once", "let the simulator do to the world what the MIS would do")
    if len(desk.left) != 1:
        raise CheckFailed(
            f"{desk.operation.name} is announced {len(desk.left)} times, and was sent once",
            "call request.leaving once, before the first byte leaves: http.send(…, leaving=request.leaving)",
        )
    [(departure, effects)] = desk.left
    if effects:
        raise CheckFailed(
            f"{desk.operation.name} is announced after it took effect",
            "call request.leaving before the first byte leaves",
        )
    if not departure.target.strip():
        raise CheckFailed(f"{desk.operation.name} is announced without a target", 'name it: "POST marks"')
    shown = f"{departure.target} {departure.body}"
    if any(secret and secret in shown for secret in desk.stage.mis.credentials.values()):
        raise CheckFailed(
            f"{desk.operation.name} is announced with a credential in it",
            "leave credentials out of what is shown: Request(…, shown=…) where the body holds them",
        )
    return f"announced once before it took effect: {departure.target}"


async def _stopped(desk: Desk, session: WriteRows) -> str:
    _check_announces(desk)
    stop = WriteStopped("the kit stops the write")

    def leaving(_departure: Departure) -> None:
        raise stop

    try:
        await session.write(replace(desk.request, leaving=leaving))
    except WriteStopped:
        pass
    except ConnectorError as error:
        raise CheckFailed(
            f"{desk.operation.name} is stopped, and write raises {type(error).__name__}",
            "pass on what request.leaving raises, as it is",
        ) from error
    else:
        raise CheckFailed(
            f"{desk.operation.name} is stopped, and write returns a receipt",
            "call request.leaving, and pass on what it raises",
        )
    desk.expect(0, "though it was stopped", "call request.leaving before the first byte leaves")
    await desk.send(session)
    desk.expect(1, "when it was sent after it had been stopped", "send nothing of a write that is stopped")
    return "stopped, no effect; then sent, one effect"


_Run = Callable[[Desk, WriteRows], Awaitable[str]]


def _check(operation: str, name: str, says: str, run: _Run) -> Check:
    async def checked(bench: Bench) -> str:
        described = next((each for each in bench.connector.writes if each.name == operation), None)
        if described is None:
            raise NotApplicable("the connector does not write it")
        async with bench.stage() as stage:
            arrival = await stage.arrive()
            async with stage.session() as session:
                if not isinstance(session, WriteRows):
                    raise CheckFailed("writes are described, and the session is no WriteRows", "implement it")
                return await run(Desk(stage, described, arrival), session)

    return Check(f"write.{operation}.{name}", says, checked)


CHECKS: tuple[Check, ...] = tuple(
    _check(operation, name, says, run)
    for operation in OPERATIONS
    for name, says, run in (
        ("effect", "A write takes effect once, is found, and is read as it was written.", _took_effect),
        ("lost_answer", "Where the answer is lost, that is said, and the effect is found.", _lost_answer),
        ("no_effect", "What had no effect is found not to have happened.", _no_effect),
        ("twice", "Asked for twice, it takes effect once.", _twice),
        ("refused", "What the MIS refuses is known to be refused.", _refused),
        ("announced", "It is shown once before it leaves, without credentials.", _announced),
        ("stopped", "What is stopped as it leaves has no effect.", _stopped),
    )
)
