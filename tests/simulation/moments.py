"""What befalls runs at chosen moments, in every fifth history and drawn from randomness of its own.

Chance alone seldom finds these: what a run wrote is gone when the run goes on (G06), or a primary steps down
at the very commit of a chunk (G14). The other histories stay as they are.
"""

from __future__ import annotations

from random import Random

from tests.simulation.base import encoded
from tests.simulation.handle import Trouble
from tests.simulation.mis import Weather
from tests.simulation.plans import Plan
from tests.simulation.stage import Stage
from tests.simulation.world import key_parts
from tests.support.scripted import MARKS, STUDENTS

_DAYS = tuple(f"2026-11-{day:02}" for day in range(1, 8))


def draw_moment(stage: Stage, rng: Random) -> Plan | None:
    """Return a sync that meets such a moment; mostly none."""
    chance = rng.random()
    if chance < 0.35:
        return _lose_marks(stage, rng)
    if chance < 0.6:
        return _step_down(stage, rng)
    return None


def _lose_marks(stage: Stage, rng: Random) -> Plan:
    """Let new marks be read by a server that dies, and some of those that it wrote be gone by then (G06)."""
    _add_marks(stage, rng)
    plan = Plan((MARKS,), Weather(reads_back=rng.random() < 0.5))
    trouble = Trouble(rng.choice(("crash_after", "last_words")), rng.randint(1, 40), 10.0, at_commit=True)
    plan.troubles = [trouble]
    known = set(stage.documents()["runs"])

    def lose() -> None:
        documents = stage.documents()
        written = {
            document["keys"][0]
            for document in documents["records"].values()
            if document["run"] not in known and document["live"]
        }
        marks = stage.mis.world.rows[MARKS]
        rows = [row for row in marks if encoded(f"scripted/{MARKS}", key_parts(MARKS, row)) in written]
        for row in rng.sample(rows, min(rng.randint(1, 2), len(rows))):
            marks[:] = [other for other in marks if key_parts(MARKS, other) != key_parts(MARKS, row)]
            plan.edited = True
            stage.steps.append(f"  meanwhile gone: {row}")
            stage.counts["gone when its run went on"] += 1

    stage.on_death = lose
    return plan


def _step_down(stage: Stage, rng: Random) -> Plan:
    """Let the primary step down at the commit of a chunk, which then is undone or is not (G14)."""
    _add_marks(stage, rng)
    at = rng.randint(1, stage.operations // 2)
    trouble = Trouble("step_down", at, rng.choice((0.0, 1.0)), at_commit=True)
    # Where the others wait for a new primary, nothing else fails and has the commit looked at again.
    trouble.election = rng.choice((0.0, 0.0, trouble.election))
    return Plan((), Weather(reads_back=rng.random() < 0.7), troubles=[trouble])


def _add_marks(stage: Stage, rng: Random) -> None:
    """Take so many registers that a run has something to write."""
    world = stage.mis.world
    known = {key_parts(MARKS, row) for row in world.rows[MARKS]}
    pupils = sorted({row["id"] for row in world.rows[STUDENTS] if type(row.get("id")) is int})
    places = [(pupil, day) for pupil in pupils for day in _DAYS if (pupil, day) not in known]
    added = rng.sample(places, min(rng.randint(4, 12), len(places)))
    for pupil, day in added:
        world.rows[MARKS].append({"student": pupil, "date": day, "code": rng.choice("/LN")})
    stage.steps.append(f"marks of {added}")
