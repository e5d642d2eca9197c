"""One history: seeded edits and syncs of one school, every step checked against the model."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from loguru import logger
from pymongo import _csot

from schoolgate.v1 import sync_service_pb2 as pb
from tests.simulation.actions import approve, change_reading, notify, reread
from tests.simulation.base import Broken, RunFacts
from tests.simulation.comparing import compare_undisturbed, repeat
from tests.simulation.handle import ServerDied
from tests.simulation.moments import draw_moment
from tests.simulation.overtaking import overtake
from tests.simulation.plans import Plan, draw_plan
from tests.simulation.server import digest_text
from tests.simulation.stage import Stage, copied
from tests.simulation.virtual_time import run_virtually
from tests.simulation.world import key_parts


@dataclass
class Outcome:
    """What a history came to."""

    digest: str
    counts: Counter[str] = field(default_factory=Counter[str])


async def _play(stage: Stage) -> Outcome:
    server = await stage.up()
    await server.register(stage.rng)
    for _ in range(stage.rng.randint(3, 7)):
        await _step(stage)
        stage.counts["steps"] += 1
    await stage.down()
    await stage.finish()
    documents = digest_text(stage.documents())
    return Outcome(hashlib.sha256(documents.encode()).hexdigest(), stage.counts)


async def _step(stage: Stage) -> None:
    rng = stage.rng
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
        stage.steps.append(stage.mis.world.edit())
    if rng.random() < 0.12:
        await change_reading(stage)
    if rng.random() < 0.12:
        await reread(stage)
    if rng.random() < 0.4:
        await approve(stage)
    if rng.random() < 0.25:
        await notify(stage)
    if rng.random() < 0.15:
        await overtake(stage)
    if stage.moments is not None and (moment := draw_moment(stage, stage.moments)) is not None:
        await _sync(stage, moment)
    plan = draw_plan(rng, stage.operations)
    for _ in range(0 if plan.days is None else rng.randint(0, 4)):
        stage.steps.append(stage.mis.world.take_register())
    await _sync(stage, plan)


async def _sync(stage: Stage, plan: Plan) -> None:
    """Sync as ``plan`` says, check what came of it, and do it over again where that must come to the same."""
    stage.steps.append(f"sync {plan}")
    twin = copied(stage.client) if plan.is_disturbed and stage.rng.random() < 0.5 else None
    run, facts = await stage.sync(plan)
    after = stage.documents()
    stage.model.verify(facts, after)
    stage.count(facts)
    await stage.settle()
    if plan.edit_at is not None or plan.edited or run.state == pb.RUN_STATE_CANCELLED:
        return
    exact = all(part.exact for part in facts.datasets)
    if plan.layer == pb.SYNC_LAYER_CHANGES:
        # What was read in full is read otherwise then: what was hidden comes, and what came once comes twice.
        exact = (
            exact
            and run.state == pb.RUN_STATE_SUCCEEDED
            and not plan.weather.claims
            and not plan.weather.repeats
        )
    if twin is not None and exact:
        await compare_undisturbed(stage, twin, plan, after)
    if (
        exact
        and not stage.model.postponed
        and stage.rng.random() < 0.35
        and not _is_told_otherwise(plan, facts)
    ):
        await repeat(stage, plan, after)


def _is_told_otherwise(plan: Plan, facts: RunFacts) -> bool:
    """Whether changes asked for again are not what was read: of several rows of one entity a snapshot
    keeps the same one whatever their order, and of changes the last one counts.
    """
    if plan.layer != pb.SYNC_LAYER_CHANGES:
        return False
    differing = {
        (part.dataset, repr(row)): key_parts(part.dataset, row)
        for part in facts.datasets
        for row in part.rows
    }
    entities = {(dataset, repr(parts)) for (dataset, _), parts in differing.items()}
    return len(entities) < len(differing)


def play(seed: int) -> Outcome:
    """Play one history.

    Raises:
        AssertionError: it breaks a guarantee; the text has the seed and the steps that led there.
    """
    stage = Stage(seed)

    async def timed() -> Outcome:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_only_of_the_living)
        setattr(_csot, "time", SimpleNamespace(monotonic=loop.time))  # noqa: B010 - the driver's own clock
        return await _play(stage)

    real: Any = vars(_csot)["time"]
    logger.disable("schoolgate_server")
    try:
        outcome: Outcome = run_virtually(timed)
    except Exception as error:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(stage.steps, 1))
        what = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
        raise AssertionError(
            f"seed {seed}: {what}\n{steps}\nagain: make simulate SEEDS={seed}-{seed}"
        ) from error
    finally:
        logger.enable("schoolgate_server")
        setattr(_csot, "time", real)  # noqa: B010
    return outcome


def _only_of_the_living(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong in a task that nobody asks, unless its server is dead."""
    if not isinstance(context.get("exception"), ServerDied):
        loop.default_exception_handler(context)
