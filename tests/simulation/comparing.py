"""Syncs done over again: the same must come of it, whether it was disturbed (G10) or done before (G03)."""

from __future__ import annotations

from typing import Any

from tests.simulation.base import Documents, require
from tests.simulation.plans import Plan
from tests.simulation.server import documents_of, new_uuid
from tests.simulation.stage import Stage


async def repeat(stage: Stage, plan: Plan, before: Documents) -> None:
    """G03: the same once more writes nothing but its run."""
    shuffled = stage.rng.random() < 0.5
    if shuffled and not set(plan.weather.claims.values()) & {"truncated", "page_twice"}:
        stage.steps.append(stage.mis.world.shuffle())
    # A resumed read may keep an empty page from behind the end; in another order the pages are others.
    exactly = not shuffled and not plan.is_disturbed
    stage.steps.append("repeat")
    again = plan.undisturbed()
    run, facts = await stage.sync(again)
    after = stage.documents()
    require(run.seq_after == run.seq_before, "G03", "a repetition moved the published seq")
    for documents in (before, after):
        # What rows were read as is no part of the copy: it may be kept again where an identity was decided.
        for name in ("runs", "memos") if exactly else ("runs", "memos", "raw_pages"):
            documents.pop(name, None)
        for head in documents["heads"].values():
            # Who holds the school or asks about it is no part of its data.
            for name in ("lease", "epoch", "rolled_back", "known_until"):
                head.pop(name, None)
        if shuffled:
            _forget_order(documents)
    for name, documents in after.items():
        require(documents == before.get(name, {}), "G03", f"a repetition changed {name}")
    stage.model.verify(facts, stage.documents())
    stage.counts["repetitions"] += 1


async def compare_undisturbed(stage: Stage, twin: Any, plan: Plan, after: Documents) -> None:
    """G10: the same sync without any disturbance, over a copy of the store, ends in the same records."""
    stage.mis.begin(plan.weather, plan.days)
    server = await stage.start(twin)
    run = await server.sync(plan, str(new_uuid(stage.rng)))
    await server.stop()
    assert run is not None
    undisturbed = documents_of(twin)
    for name in ("records", "identities"):
        one, other = (_contents(documents[name]) for documents in (after, undisturbed))
        for key in {**one, **other}:
            pair = one.get(key), other.get(key)
            require(pair[0] == pair[1], "G10", f"{name} differ from those of an undisturbed run: {pair}")
    stage.counts["compared with an undisturbed run"] += 1


def _forget_order(documents: Documents) -> None:
    """Whether one of several differing rows also counts as a duplicate depends on their order."""
    decisions = documents["decisions"]
    for decision_id in [key for key, one in decisions.items() if one["reason"].endswith("DUPLICATE_ROW")]:
        del decisions[decision_id]


def _contents(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = ("live", "keys", "body", "hash", "key", "record", "cause", "link")
    return {name: [document.get(field_name) for field_name in names] for name, document in documents.items()}
