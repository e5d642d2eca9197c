"""Where faults strike: every entity that a dataset asks for, of every dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schoolgate_sdk.connector import Dataset
from schoolgate_sdk.errors import ConnectorError
from schoolgate_sdk.testing.conformance.bench import Bench, Stage
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.traffic import Traffic

_PROBES: Final = ("duplicate_rows", "status", "reset", "cut", "invalid_json", "rate_limit")
"""Faults of which one shows whether an entity, or a page of it, is asked for, best with rows."""

_LONG: Final = 4
"""Pages from which on the second is not the last with rows, even where an empty one shows the end."""


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset and one of the entities that reading it asks for; ``is_long``: by four pages or more."""

    dataset: Dataset
    entity: str | None
    is_long: bool

    def __str__(self) -> str:
        further = self.entity and self.entity != self.dataset.entities[0]
        return f"{self.dataset.name} ({self.entity})" if further else self.dataset.name


async def places(bench: Bench) -> tuple[Place, ...]:
    """Return all places, looked for once.

    The first entity of a dataset is one whether or not it is asked for: a fault that does not strike it fails
    its check. Of the others those are left out that only nest in what is asked for.
    """
    if bench.places is None:
        bench.places = await _look(bench)
    return bench.places


async def _look(bench: Bench) -> tuple[Place, ...]:
    readings = (await bench.well())[0].readings
    probe = next((kind for kind in _PROBES if kind in bench.target.faults), None)
    found: list[Place] = []
    async with bench.stage() as stage:
        for dataset in bench.connector.datasets:
            if probe is None or not dataset.entities:
                first = next(iter(dataset.entities), None)
                found.append(Place(dataset, first, len(readings[dataset.name].cursors) >= _LONG))
                continue
            for entity in dataset.entities:
                if entity == dataset.entities[0] or await _is_asked(stage, dataset, entity, 0, probe):
                    is_long = await _is_asked(stage, dataset, entity, _LONG - 1, probe)
                    found.append(Place(dataset, entity, is_long))
    return tuple(found)


async def _is_asked(stage: Stage, dataset: Dataset, entity: str, page: int, probe: str) -> bool:
    before = stage.struck(probe)
    stage.mis.fault(Fault(kind=probe, entity=entity, page=page, status=500))
    stage.traffic = Traffic()
    try:
        async with stage.session() as session:
            await stage.read(session, dataset)
    except ConnectorError:
        pass  # it may be given up
    finally:
        stage.mis.clear_faults()
    return stage.struck(probe) > before
