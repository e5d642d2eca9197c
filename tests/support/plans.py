"""What a real mongod makes of the reads that the store sends it: commands as captured, and their plans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.questions import GROWING

_PARTS = {
    "find": ("find", "filter", "projection", "sort", "limit", "collation", "hint"),
    "aggregate": ("aggregate", "pipeline", "collation", "hint"),
    "count": ("count", "query", "limit", "hint"),
    "distinct": ("distinct", "key", "query"),
}
"""What of each command decides its plan."""

_ENGINES = frozenset({"runs", "notices", "raw_pages", "memos"})
"""Collections that no read looks at, but the engine of a server does meanwhile, as for schools' schedules."""

_PAGE = 50

_GROWING = {KINDS[kind].name for kind in GROWING}
_POINTS = ("_id", "id", "keys", "body.student_id", "body.group_id", "from", "tombstone.merged_into")
"""Fields of which one value, or each of some, leads to few records."""


class Captured(CommandListener):
    """The reads that a client sends, one of each shape and ``label``."""

    def __init__(self) -> None:
        self.commands: dict[str, dict[str, Any]] = {}
        self.said: dict[str, str] = {}
        self.when = ""
        self.label = ""

    def started(self, event: CommandStartedEvent) -> None:
        parts = _PARTS.get(event.command_name)
        if parts is None or "$changeStream" in str(event.command.get("pipeline", "")):
            return
        command = {name: event.command[name] for name in parts if name in event.command}
        if event.command[event.command_name] in _ENGINES or "body.schedules.layer" in command.get(
            "filter", ()
        ):
            return
        if command.get("limit", 1) > 1:
            # A page is some part of what a school has, here as elsewhere, but more than two records.
            command["limit"] = _PAGE
        shape = json.dumps([self.when, _shape(command)])
        self.commands.setdefault(shape, command)
        self.said.setdefault(shape, f"{self.label} {self.when}")

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass


def _shape(part: Any) -> Any:
    """Return a command without its values, but for truths."""
    if isinstance(part, dict | list | tuple):
        return [(name, _shape(value)) for name, value in within(part) if name not in {"limit", "projection"}][
            :9
        ]
    return part if isinstance(part, bool) else type(part).__name__


def within(part: Any) -> list[tuple[str, Any]]:
    """Return what a document or list consists of, with names where it has some."""
    if isinstance(part, dict):
        return list(cast("dict[str, Any]", part).items())
    if isinstance(part, list | tuple):
        return [("", each) for each in cast("Sequence[Any]", part)]
    return []


@dataclass
class Plan:
    """One captured read with MongoDB's explanation of how it goes about it."""

    label: str
    command: dict[str, Any]
    explained: dict[str, Any]
    published: int
    wrong: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        shown = {name: part for name, part in self.command.items() if name != "projection"}
        stages = " < ".join(_shown(stage) for stage in stages_of(self.explained))
        return f"{self.label}: {'; '.join(self.wrong)}\n    {shown}\n    {stages}"


def stages_of(plan: Any) -> Iterator[dict[str, Any]]:
    """Yield every stage of a plan that was chosen, the outermost first."""
    if isinstance(plan, dict) and "stage" in plan:
        yield cast("dict[str, Any]", plan)
    for name, value in within(plan):
        if name not in {"command", "parsedQuery", "rejectedPlans"}:
            yield from stages_of(value)


def _shown(stage: dict[str, Any]) -> str:
    return f"{stage['stage']} {stage['indexName']}" if "indexName" in stage else str(stage["stage"])


async def plans_of(database: Any, captured: Captured, published: int) -> list[Plan]:
    """Return the plan of every captured command, with what is wrong with it.

    ``published`` is the school's latest seq.
    """
    plans: list[Plan] = []
    for shape, command in list(captured.commands.items()):
        asked: dict[str, Any] = {**command, "cursor": {}} if "aggregate" in command else command
        answer = await database.command("explain", asked, verbosity="queryPlanner")
        plan = Plan(captured.said[shape], command, answer, published)
        plan.wrong = list(_wrong(plan))
        plans.append(plan)
    return plans


def _wrong(plan: Plan) -> Iterator[str]:
    for stage in stages_of(plan.explained):
        if stage["stage"] == "COLLSCAN":
            yield "reads the whole collection"
        if stage["stage"] == "SORT":
            for scan in stages_of(stage):
                if scan["stage"] == "IXSCAN" and not _is_bounded(plan, scan):
                    yield f"sorts what it reads of {scan['indexName']}"


def _is_bounded(plan: Plan, scan: dict[str, Any]) -> bool:
    """Whether what an index scan leads to does not grow with the years.

    That is: of kinds of which a school has some thousands; of given records, keys, pupils, groups, or days;
    or what the next commit, if one is under way, has copied into the history.
    """
    bounds: dict[str, list[str]] = scan["indexBounds"]
    if "kind" in bounds and not any(name in interval for interval in bounds["kind"] for name in _GROWING):
        return True
    if any(name in bounds and all(map(_is_point, bounds[name])) for name in _POINTS):
        return True
    return "until" in bounds and all(_begins(interval) >= plan.published for interval in bounds["until"])


def _is_point(interval: str) -> bool:
    low, _, high = interval[1:-1].partition(", ")
    return low == high and interval[0] == "["


def _begins(interval: str) -> float:
    low = interval[1:].partition(",")[0]
    return float(low) if low.lstrip("-").replace(".", "").isdigit() else float("-inf")
