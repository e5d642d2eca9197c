"""What must hold of a history of writes: at each request that arrives in the MIS, and at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import WriteConditions, WriteEntry
from tests.simulation.base import require
from tests.simulation.server import DATABASE, SCHOOL, new_uuid
from tests.simulation.writing.asked import orders
from tests.simulation.writing.mis import Arrival
from tests.simulation.writing.server import OPTIONS
from tests.support.write_mis.connector import ENTITY

if TYPE_CHECKING:
    from tests.simulation.writing.history import History

_UNKNOWN = pb.WriteAttempt.OUTCOME_UNKNOWN
_REFUSED = pb.WriteAttempt.OUTCOME_REFUSED
_ENDED = frozenset(
    {
        *(pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_REJECTED, pb.WRITE_STATE_FAILED),
        *(pb.WRITE_STATE_CANCELLED, pb.WRITE_STATE_DIVERGED),
    }
)
OFF_WITHIN = 1.0
"""Seconds after which nothing leaves any more once the kill switch was thrown (G19)."""


def look(history: History, arrival: Arrival) -> None:
    """Look at a request as it arrives: it was durable before, and nobody had forbidden it.

    What is wrong is noted: what is raised here the server would take for the connector's own error.
    """
    documents = history.client[DATABASE]["writes"].find({"key": arrival.key})
    states = [pb.Write.FromString(document["wire"]).state for document in documents]
    if states != [pb.WRITE_STATE_SENDING]:
        history.broken.append(f"G11: {arrival.key} left at {arrival.at:.2f} while it was {states}")
    for switched in history.switched:
        if any(ENTITY[operation] == arrival.entity for operation in switched.operations) and (
            switched.since + OFF_WITHIN < arrival.at < switched.until
        ):
            since = arrival.at - switched.since
            history.broken.append(f"G19: {arrival.key} left {since:.2f} s after OFF")


async def entries_of(history: History) -> list[WriteEntry]:
    """Return the ledger, oldest first."""
    return (await history.reader.writes.list(SCHOOL, WriteConditions(), None, 10_000))[::-1]


async def unsettled(history: History) -> list[str]:
    """Return the keys that have not come to their end, and do what a person does for those who need one."""
    waiting: list[str] = []
    for entry in await entries_of(history):
        write = entry.write
        if write.state == pb.WRITE_STATE_NEEDS_ATTENTION:
            await _attend(history, entry)
        if write.state not in _ENDED:
            waiting.append(f"{write.idempotency_key} {pb.WriteState.Name(write.state)}")
    return waiting


async def _attend(history: History, entry: WriteEntry) -> None:
    """Do as a person who looks in the MIS, if it was right to ask one."""
    key = entry.write.idempotency_key
    require(_may_need_attention(history, entry), "G11", f"{key} needs attention: {entry.write.failure}")
    history.played.counts[f"needs attention: {entry.write.operation_name}"] += 1
    effects = history.mis.effects[key]
    history.say(f"{key} needs attention, and has {effects} effects")
    outcome = (
        pb.ResolveWriteRequest.OUTCOME_TOOK_EFFECT
        if effects
        else pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_SEND_AGAIN
    )
    request = pb.ResolveWriteRequest(school_id=SCHOOL, write_id=entry.write_id, outcome=outcome)
    request.request_id = str(new_uuid(history.rng))
    await history.office.resolve(request, "operator")


def _may_need_attention(history: History, entry: WriteEntry) -> bool:
    """Whether nobody can know what came of a write, given how its operation can be found again."""
    unknown = sum(attempt.outcome == _UNKNOWN for attempt in entry.write.attempts)
    match entry.write.operation_name:
        case "record_intervention_note":
            return unknown > 0
        case "record_attendance_mark":
            refused = any(attempt.outcome == _REFUSED for attempt in entry.write.attempts)
            return unknown >= OPTIONS.unknown_attempts or (unknown > 0 and refused)
        case "record_behaviour_event":
            asked = next(each for each in history.asked if each.key == entry.write.idempotency_key)
            return asked.twins and unknown > 0
        case _:
            return False


async def judge(history: History) -> None:
    """Judge the whole history, once everything has come to its end."""
    assert not history.broken, history.broken
    entries = {entry.write.idempotency_key: entry for entry in await entries_of(history)}
    effects, counts = history.mis.effects, history.played.counts
    doubled = {key: count for key, count in effects.items() if count > 1}
    require(not doubled, "G11", f"effects of one key: {doubled}")
    require(not {*effects} - {*entries}, "G11", "something took effect that is not in the ledger")
    lost = [asked.key for asked in history.asked if asked.answered is not None and asked.key not in entries]
    require(not lost, "G11", f"acknowledged and lost: {lost}")
    for key, entry in entries.items():
        state = entry.write.state
        name = pb.WriteState.Name(state).removeprefix("WRITE_STATE_")
        expected = 1 if state == pb.WRITE_STATE_CONFIRMED else 0
        require(effects[key] == expected, "G11", f"{key} is {name} and has {effects[key]} effects")
        if key in history.cancelled:
            require(state == pb.WRITE_STATE_CANCELLED, "G11", f"{key} was cancelled, and is {name}")
        counts[f"{entry.write.operation_name} {name}"] += 1
    _judge_order(history)
    counts.update(f"fault: {fault}" for fault in history.mis.struck.elements())
    counts["requests to the MIS"] += len(history.mis.arrivals)
    counts["writes"] += len(entries)
    history.played.entries = [entry.write for entry in entries.values()]


def _judge_order(history: History) -> None:
    """What is about one thing left in the order in which it was asked for."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for arrival in history.mis.arrivals:
        first.setdefault(arrival.key, arrival.at)
        last[arrival.key] = arrival.at
    for before, after in orders(history.asked):
        if before.key in last and after.key in first:
            ordered = last[before.key] <= first[after.key]  # a refusal takes no time here
            require(ordered, "G11", f"{after.key} left before {before.key}, which is about the same")


def summary(counts: Counter[str]) -> list[str]:
    """Return what histories came to as lines of text."""
    lines = [f"writing: {counts['histories']} histories, {counts['writes']} writes"]
    lines += [f"  {count:6} {what}" for what, count in sorted(counts.items())]
    return lines
