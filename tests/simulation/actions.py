"""What a history does beside its syncs: each action is checked against the model where it changes records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from schoolgate.v1 import sync_service_pb2 as pb
from tests.simulation.base import RunFacts
from tests.simulation.facts import joined
from tests.simulation.meaning import Reading
from tests.simulation.mis import Weather
from tests.simulation.notices import told_apart
from tests.simulation.plans import Plan, add_troubles, draw_datasets, draw_trouble
from tests.simulation.server import PROFILES, SCHOOL, Notice, new_uuid
from tests.simulation.stage import Stage
from tests.simulation.world import DATASETS, key_parts
from tests.support.scripted import GROUPS, MARKS


async def change_reading(stage: Stage) -> None:
    """Change the parser, which takes a new server, or the profile."""
    if stage.rng.random() < 0.5:
        version = stage.reading.parser_version + stage.rng.choice((1, 2))
        stage.reading = Reading(version, stage.reading.profile)
        await stage.down()
        stage.counts["parser changed"] += 1
    else:
        stage.reading = Reading(stage.reading.parser_version, stage.rng.choice(list(PROFILES)))
        school = await stage.reader.schools.get(SCHOOL)
        school.data_profile[:] = PROFILES[stage.reading.profile]
        await stage.reader.schools.update(school, ["data_profile"], str(new_uuid(stage.rng)), b"")
        stage.counts["profile changed"] += 1
    stage.steps.append(f"{stage.reading}")


async def notify(stage: Stage) -> None:
    """Tell of some rows that they changed, twice and in any order; one run reads them all again."""
    named = told_apart(stage.mis.world.some_rows(stage.rng), stage.mis.world, stage.documents())
    if not named or await stage.reader.holds.list(SCHOOL):
        return  # with a hold open, a whole snapshot would be read instead
    plan = Plan(tuple(name for name in DATASETS if name in named), Weather())
    if stage.rng.random() < 0.4:
        plan.troubles = [draw_trouble(stage.rng, 40)]
    notices = [(name, key, str(new_uuid(stage.rng))) for name, keys in named.items() for key in keys]
    notices += stage.rng.sample(notices, stage.rng.randint(0, len(notices)))
    stage.rng.shuffle(notices)
    stage.steps.append(f"notify of {named}; {plan}")
    facts = await _notified(stage, plan, notices)
    read_singly(stage, facts, named)
    stage.model.verify(facts, stage.documents())
    stage.counts["notified"] += len(notices)
    await stage.settle()


def read_singly(stage: Stage, facts: RunFacts, named: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    """Let ``facts`` say that nothing but the rows under the keys ``named`` was read."""
    for part in facts.datasets:
        # Of several runs, each saw the pupils that were known when it began.
        part.targeted, part.expected = True, {"SUCCEEDED"}
        part.exact = len(facts.runs) == 1 or part.dataset in {GROUPS, MARKS}
        keys = [tuple(map(repr, parts)) for parts in named[part.dataset]]
        rows = stage.mis.world.rows[part.dataset]
        part.rows = [dict(row) for row in rows if tuple(map(repr, key_parts(part.dataset, row))) in keys]


async def reread(stage: Stage) -> None:
    """Read the retained rows anew, mostly in another way; the MIS would let nobody in."""
    if stage.rng.random() < 0.8:
        await change_reading(stage)
    plan = Plan(draw_datasets(stage.rng), Weather(opening="AuthInvalid"), pb.SYNC_LAYER_REPROJECTION)
    if stage.rng.random() < 0.6:
        add_troubles(stage.rng, plan, 40)
    stage.steps.append(f"read anew {plan}")
    _, facts = await stage.sync(plan)
    stage.model.verify(facts, stage.documents())
    stage.count(facts)
    await stage.settle()


async def _notified(stage: Stage, plan: Plan, notices: Sequence[Notice]) -> RunFacts:
    """Tell of ``notices``; return what the runs did that read them."""
    before = set(stage.documents().get("runs", {}))
    await stage.run(plan, lambda server, _: server.notify(notices))
    # One may have taken a notification in whose answer was lost.
    made = set(stage.documents()["runs"]) - before
    runs = [(await stage.reader.runs.get(SCHOOL, run_id)).run for run_id in sorted(made)]
    return joined([stage.facts(run, replace(plan, datasets=_names(run))) for run in runs])


def _names(run: pb.Run) -> tuple[str, ...]:
    return tuple(part.dataset for part in run.datasets)


async def approve(stage: Stage) -> None:
    """Approve what is held for some dataset, as an operator who looked at it may."""
    holds = await stage.reader.holds.list(SCHOOL)
    if holds:
        hold = stage.rng.choice(holds)
        await stage.reader.holds.approve(SCHOOL, hold.hold_id, hold.digest, "operator", stage.clock())
        stage.model.judge.approve(hold.dataset)
        stage.steps.append(f"approve what is held of {hold.dataset}")
        stage.counts["hold approved"] += 1
