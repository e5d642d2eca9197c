"""What one sync of a history meets: drawn from the history's own randomness."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from schoolgate.v1 import sync_service_pb2 as pb
from tests.simulation.handle import TROUBLES, Trouble
from tests.simulation.meaning import Days
from tests.simulation.mis import CLAIMS, ERRORS, Weather
from tests.simulation.world import DATASETS
from tests.support.scripted import MARKS

_WINDOWS: tuple[Days, ...] = (
    ("2026-10-01", "2026-10-03"),
    ("2026-10-02", "2026-10-06"),
    ("2026-09-20", "2026-11-01"),
    ("2026-10-05", "2027-09-01"),
)

Place: TypeAlias = tuple[str, int]
"""A dataset and the index of one of its pages."""


@dataclass
class Plan:
    """One sync. ``troubles`` befall one attempt after the other, ``stop_at`` likewise."""

    datasets: tuple[str, ...]
    weather: Weather
    layer: pb.SyncLayer.ValueType = pb.SYNC_LAYER_FULL
    days: Days | None = None
    troubles: list[Trouble] = field(default_factory=list[Trouble])
    stop_at: list[Place] = field(default_factory=list[Place])
    cancel_at: Place | None = None
    cancelled: bool = False
    edit_at: Place | None = None
    edited: bool = False
    """Whether something changed in the MIS while the sync went on."""
    rival: bool = False
    look_at: int = 0

    @property
    def read(self) -> tuple[str, ...]:
        """The datasets that are read, in their order."""
        offered = DATASETS if self.days is None else (MARKS,)
        return tuple(dataset for dataset in offered if not self.datasets or dataset in self.datasets)

    def undisturbed(self) -> Plan:
        """Return the same sync, at which only the MIS does what it does."""
        return Plan(self.datasets, self.weather, self.layer, self.days)

    @property
    def is_disturbed(self) -> bool:
        return bool(self.troubles or self.stop_at or self.rival)

    def __str__(self) -> str:
        parts = [", ".join(self.datasets) or "everything"]
        parts += ["changes only"] if self.layer == pb.SYNC_LAYER_CHANGES else []
        parts += [] if self.days is None else [f"from {self.days[0]} until {self.days[1]}"]
        parts += [str(self.weather), *map(str, self.troubles)]
        parts += [f"server stopped at {place}" for place in self.stop_at]
        for name, place in (("cancelled", self.cancel_at), ("edit", self.edit_at)):
            if place is not None:
                parts.append(f"{name} at {place}")
        return "; ".join(parts) + ("; with a rival server" if self.rival else "")


def draw_plan(rng: Random, operations: int) -> Plan:
    """Return what the next sync meets; ``operations`` is about how many store operations it will take."""
    plan = Plan(
        draw_datasets(rng), Weather(reads_back=rng.random() < 0.7), look_at=rng.randint(1, operations)
    )
    if rng.random() < 0.25:
        plan.datasets, plan.layer, plan.days = (), pb.SYNC_LAYER_WINDOW, rng.choice(_WINDOWS)
        plan.weather.sloppy = rng.random() < 0.2
    elif rng.random() < 0.25:
        plan.layer = pb.SYNC_LAYER_CHANGES
        plan.weather.expired, plan.weather.repeats = rng.random() < 0.15, rng.random() < 0.3
    chance = rng.random()
    if chance < 0.30:
        pass
    elif chance < 0.55:
        _spoil(rng, plan)
    elif chance < 0.90:
        _disturb(rng, plan, operations)
        if rng.random() < 0.3:
            _spoil(rng, plan)
    elif chance < 0.95:
        plan.cancel_at = _place(rng, plan)
    else:
        plan.edit_at = _place(rng, plan)
    return plan


def draw_datasets(rng: Random) -> tuple[str, ...]:
    """Return the datasets that a run is asked for; none stand for all."""
    if rng.random() < 0.7:
        return ()
    return tuple(sorted(rng.sample(DATASETS, rng.randint(1, 3))))


def _place(rng: Random, plan: Plan) -> Place:
    return rng.choice(DATASETS if plan.days is None else (MARKS,)), rng.choice((0, 0, 1, 1, 2, 3))


def _spoil(rng: Random, plan: Plan) -> None:
    weather = plan.weather
    match rng.randint(0, 9):
        case 0:
            weather.opening = rng.choice([error for error in ERRORS if error != "hang"])
        case 1:
            weather.reads_back = True
            weather.read_back_error = rng.choice([error for error in ERRORS if error != "hang"])
        case 2 | 3 | 4:
            dataset, page = _place(rng, plan)
            weather.breaks[dataset] = (page, rng.choice(list(ERRORS)))
        case _:
            datasets = rng.sample(DATASETS, rng.randint(1, 2)) if plan.days is None else [MARKS]
            for dataset in datasets:
                [weather.claims[dataset]] = rng.choices(list(CLAIMS), list(CLAIMS.values()))
            weather.amount = rng.randint(1, 4)


def _disturb(rng: Random, plan: Plan, operations: int) -> None:
    if rng.random() < 0.25:
        plan.stop_at = [_place(rng, plan) for _ in range(rng.randint(1, 2))]
    else:
        add_troubles(rng, plan, operations)


def add_troubles(rng: Random, plan: Plan, operations: int) -> None:
    """Let something befall the servers among their next ``operations`` store operations."""
    for _ in range(rng.choice((1, 1, 2))):
        plan.troubles.append(draw_trouble(rng, operations))
    plan.rival = rng.random() < 0.4


def draw_trouble(rng: Random, operations: int) -> Trouble:
    """Return what befalls one of the next ``operations`` store operations."""
    trouble = Trouble(rng.choice(TROUBLES), rng.randint(1, operations))
    if trouble.mode in {"slow", "partition", "late"}:
        trouble.seconds = rng.choice((5.0, 25.0, 60.0, 100.0))
    if trouble.mode == "last_words":
        # After the lease and its grace, and before MongoDB itself undoes the transaction.
        trouble.at_commit = True
        trouble.at, trouble.seconds = rng.randint(1, operations // 2), rng.choice((10.0, 40.0, 50.0, 56.0))
    if trouble.mode == "step_down":
        trouble.seconds = rng.choice((0.0, 1.0))
        trouble.at_commit = trouble.at % 2 == 0
    return trouble
