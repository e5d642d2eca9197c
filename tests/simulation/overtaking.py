"""G07: a run whose owner died goes on from the rows that it retained, after another one read newer ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.simulation.actions import read_singly
from tests.simulation.facts import joined
from tests.simulation.meaning import Key
from tests.simulation.mis import Weather
from tests.simulation.notices import told_apart
from tests.simulation.plans import Plan
from tests.simulation.server import SCHOOL, Notice, new_uuid
from tests.simulation.stage import Stage
from tests.simulation.world import DATASETS, Row, key_parts
from tests.support.scripted import GROUPS, MARKS, MEMBERSHIPS, STUDENTS

_STORED_SECONDS = 1.0
"""Long enough for what was read to be retained."""

_EDITS = {STUDENTS: ("surname", "Later"), GROUPS: ("name", "Later"), MEMBERSHIPS: ("to", "2027-06-01")}
_EDITS[MARKS] = ("code", "N")


async def overtake(stage: Stage) -> None:
    """Let a server die while it reads a dataset, another one read what changed since, and the run go on."""
    several = [name for name in DATASETS if len(stage.mis.world.rows[name]) > stage.options.segment_rows]
    if not several or await stage.reader.holds.list(SCHOOL):
        return  # with a hold open, a whole snapshot would be read instead of single rows
    dataset = stage.rng.choice(several)
    plan = Plan((dataset,), Weather(reads_back=stage.rng.random() < 0.3))
    stage.steps.append(f"sync {plan}; its server dies at the last page")
    before = await stage.reader.leases.head(SCHOOL)
    request = str(new_uuid(stage.rng))
    await _begin_and_die(stage, plan, request)
    overtaken: frozenset[Key] = frozenset()
    if (await stage.reader.leases.head(SCHOOL)).published == before.published:
        kept = await _kept(stage, dataset)
        changed = await _read_what_changed(stage, dataset)
        # Where nothing was kept, all is asked for after that.
        overtaken = changed if kept else overtaken
    run = await (await stage.up()).sync(plan, request)
    assert run is not None
    stage.mis.on_page = stage.mis.calm
    facts = stage.facts(run, plan)
    facts.datasets[0].overtaken = overtaken
    stage.model.verify(facts, stage.documents())
    stage.count(facts)
    stage.counts["runs overtaken"] += bool(overtaken)
    await stage.settle()


async def _begin_and_die(stage: Stage, plan: Plan, request: str) -> None:
    [dataset] = plan.datasets
    server = await stage.up()
    server.gate.arm(None)
    stage.mis.begin(plan.weather)
    last = len(stage.mis.content(dataset)) - 1

    async def on_page(name: str, index: int) -> None:
        if (name, index) == (dataset, last) and not server.gate.died.is_set():
            await asyncio.sleep(_STORED_SECONDS)
            server.gate.die()
            await asyncio.Event().wait()

    stage.mis.on_page = on_page
    assert await server.sync(plan, request) is None
    await stage.down()


async def _kept(stage: Stage, dataset: str) -> int:
    """Return how many rows the run that its server left has kept: what a successor does not ask for again."""
    entries = await stage.reader.runs.unfinished(SCHOOL)
    return sum(segment.rows for entry in entries for segment in entry.manifest.get(dataset, []))


async def _read_what_changed(stage: Stage, dataset: str) -> frozenset[Key]:
    """Change some rows, and have a server that knows of no other run read those; return whose they are."""
    named = told_apart({dataset: _edited(stage, dataset)}, stage.mis.world, stage.documents())
    if not named:
        return frozenset()
    stage.steps.append(f"  meanwhile changed and notified of: {named}")
    notices: list[Notice] = [(dataset, key, str(new_uuid(stage.rng))) for key in named[dataset]]
    weather, stage.mis.weather = stage.mis.weather, Weather()  # this one can ask for single rows
    server = await stage.start(adopts=False)
    before = set(stage.documents()["runs"])
    assert await server.notify(notices) is not None
    await server.stop()
    stage.mis.weather = weather
    # One that begins between two notifications leaves the second to another.
    made = sorted(set(stage.documents()["runs"]) - before)
    runs = [(await stage.reader.runs.get(SCHOOL, run_id)).run for run_id in made]
    facts = joined([stage.facts(run, Plan((dataset,), Weather())) for run in runs])
    read_singly(stage, facts, named)
    stage.model.verify(facts, stage.documents())
    return frozenset(key for key, life in stage.model.histories.items() if life[-1].run in facts.runs)


def _edited(stage: Stage, dataset: str) -> list[tuple[Any, ...]]:
    """Change some rows, and let perhaps a pupil join; return the keys of what is new."""
    rows = stage.mis.world.rows[dataset]
    counts = Counter(repr(key_parts(dataset, row)) for row in rows)
    plain = [row for row in rows if counts[repr(key_parts(dataset, row))] == 1 and _is_whole(dataset, row)]
    changed = stage.rng.sample(plain, min(len(plain), stage.rng.randint(1, 3)))
    field, value = _EDITS[dataset]
    for row in changed:
        row[field] = value
    if dataset == STUDENTS and stage.rng.random() < 0.5:
        known = list(rows)
        stage.steps.append(f"  meanwhile {stage.mis.world.join()}")
        changed += [row for row in stage.mis.world.rows[dataset] if row not in known]
    return [key_parts(dataset, row) for row in changed]


def _is_whole(dataset: str, row: Row) -> bool:
    parts = key_parts(dataset, row)
    identified = all(type(part) in {int, str} and part != "" for part in parts)
    return (
        identified and not row.get("broken") and (dataset != STUDENTS or isinstance(row.get("surname"), str))
    )
