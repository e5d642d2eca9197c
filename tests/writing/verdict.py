"""What came of many writes: counted in the MIS and in the ledger, and judged."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import WriteSafety
from tests.support.write_mis.disk import Line
from tests.writing.asking import Asked

RECORD_VARIABLE = "SCHOOLGATE_TEST_WRITES_RECORD"
"""Names a file that the table is written to as JSON."""

_COUNTED = (
    *("writes", "submissions", "requests", "effects"),
    *("done", "attention", "undone", "duplicates", "lost"),
)
_DONE = {pb.WRITE_STATE_SENT, pb.WRITE_STATE_CONFIRMED}
_UNDONE = {pb.WRITE_STATE_REJECTED, pb.WRITE_STATE_FAILED, pb.WRITE_STATE_CANCELLED}
_UNKNOWN = pb.WriteAttempt.OUTCOME_UNKNOWN


@dataclass
class Row:
    """One class of safety in the table."""

    writes: int = 0
    submissions: int = 0
    requests: int = 0
    effects: int = 0
    done: int = 0
    attention: int = 0
    undone: int = 0
    duplicates: int = 0
    lost: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])


@dataclass
class Verdict:
    """``wrong`` says what must not be; the rest is the table."""

    rows: dict[str, Row] = field(default_factory=lambda: defaultdict[str, Row](Row))
    events: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])

    def lines(self) -> list[str]:
        """Return the table, its columns aligned."""
        names = [*self.rows]
        befell = sorted({fault for row in self.rows.values() for fault in row.faults})
        table = [
            ["", *names],
            *([name, *(str(getattr(self.rows[each], name)) for each in names)] for name in _COUNTED),
            *([fault, *(str(self.rows[each].faults[fault]) for each in names)] for fault in befell),
        ]
        widths = [max(len(line[column]) for line in table) for column in range(len(names) + 1)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table
        ]
        return lines + [f"{count:>6} {what}" for what, count in sorted(self.events.items())]

    def record(self) -> None:
        """Keep the table as JSON where a variable of the environment says so."""
        if path := os.environ.get(RECORD_VARIABLE):
            rows = {name: vars(row) | {"faults": dict(row.faults)} for name, row in self.rows.items()}
            text: dict[str, Any] = {"classes": rows, "events": dict(self.events), "wrong": self.wrong}
            Path(path).write_bytes(orjson.dumps(text, option=orjson.OPT_INDENT_2) + b"\n")


def judge(
    asked: Sequence[Asked],
    ledger: Mapping[str, pb.Write],
    effects: Mapping[str, int],
    befell: Sequence[Line],
) -> Verdict:
    """Judge every write that was asked for.

    ``ledger`` has the writes by key, ``effects`` counts them in the MIS by key, and ``befell`` are the MIS's
    notes of requests and faults.
    """
    verdict = Verdict()
    faults: dict[str, Counter[str]] = defaultdict(Counter)
    requests: Counter[str] = Counter()
    for line in befell:
        if "fault" in line:
            faults[line["judged"]][line["fault"]] += 1
        if "request" in line:
            requests[line["judged"]] += 1
    for each in asked:
        row, count = verdict.rows[each.safety.value], effects.get(each.key, 0)
        row.writes += 1
        row.submissions += each.tries
        row.effects += count
        row.requests += requests[each.key]
        row.faults.update(faults[each.key])
        if count > 1:
            row.duplicates += 1
            verdict.wrong.append(f"{each.key} took effect {count} times")
        _judge(verdict, row, each, ledger.get(each.key), count)
    strange = sorted({*effects} - {each.key for each in asked})
    if strange:
        verdict.wrong.append(f"nobody asked for {strange[:5]}")
    return verdict


def _judge(verdict: Verdict, row: Row, each: Asked, write: pb.Write | None, count: int) -> None:
    if write is None:
        if each.answers:
            row.lost += 1
            verdict.wrong.append(f"{each.key} was acknowledged, and is not in the ledger")
        elif count:
            verdict.wrong.append(f"{each.key} took effect, and is not in the ledger")
        return
    state = pb.WriteState.Name(write.state).removeprefix("WRITE_STATE_")
    unknown = sum(attempt.outcome == _UNKNOWN for attempt in write.attempts)
    if write.state in _DONE:
        row.done += 1
        if count != 1:
            verdict.wrong.append(f"{each.key} is {state} and took effect {count} times")
    elif write.state in _UNDONE:
        row.undone += 1
        if count:
            verdict.wrong.append(f"{each.key} is {state} and took effect")
    elif write.state == pb.WRITE_STATE_NEEDS_ATTENTION:
        row.attention += 1
        verdict.events[f"need attention ({each.safety.value}): {write.failure.message}"] += 1
        if not unknown or each.safety is not WriteSafety.NONE:  # nothing that is asked for is like another
            verdict.wrong.append(f"{each.key} needs attention, and could be known: {write.failure.message}")
    else:
        verdict.wrong.append(f"{each.key} is {state} at the end: {write.failure.message}")
