"""What is kept of a MIS that has several interfaces: what each granted, and which one rows came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from loguru import logger

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import ConnectorError, EntityGrantState, ProbeSurfaces, Session, SurfaceProbe
from schoolgate_server.mis.asking import require
from schoolgate_server.mis.blame import ConnectorDefect, ask, connector_at_work
from schoolgate_server.sync.context import RunContext

_STATES: Final[Mapping[EntityGrantState, pb.SurfaceGrants.State.ValueType]] = {
    EntityGrantState.GRANTED: pb.SurfaceGrants.STATE_GRANTED,
    EntityGrantState.DENIED: pb.SurfaceGrants.STATE_DENIED,
    EntityGrantState.UNKNOWN_ENTITY: pb.SurfaceGrants.STATE_UNKNOWN_ENTITY,
}
_MOST_ENTITIES: Final = 10_000
_LONGEST_NAME: Final = 200


def surface_of(session: Session, dataset: str) -> str:
    """Return the interface from which ``dataset`` was read; empty where the MIS has one, or none was read.

    Raises:
        ConnectorDefect: the connector failed to say.
        ContractBroken: what it said is no name.
    """
    if not isinstance(session, ProbeSurfaces):
        return ""
    with connector_at_work():
        name = session.read_from(dataset)
    require(name, str, "the name of an interface is text")
    return name[:_LONGEST_NAME]


async def note_surfaces(context: RunContext) -> None:
    """Add to a run that has read what each interface of the MIS grants; it is stored with the run's end. That
    it cannot be told changes nothing of what was read.
    """
    session, run = context.session, context.entry.run
    if not isinstance(session, ProbeSurfaces):
        return
    wanted = {part.dataset for part in run.datasets}
    datasets = [dataset for dataset in context.connector.datasets if dataset.name in wanted]
    entities = sorted({entity for dataset in datasets for entity in dataset.entities})
    try:
        with connector_at_work():
            asked = session.probe(entities)
        limit = context.options.page_timeout
        probes = _probes(await ask(asked, limit, "the connector's answer about interfaces"))
    except (ConnectorError, ConnectorDefect) as error:
        logger.warning("what the MIS's interfaces grant cannot be told: {}", type(error).__name__)
        return
    del run.surfaces[:]
    run.surfaces.extend(_told(probe, context) for probe in probes)


def _probes(answer: object) -> list[SurfaceProbe]:
    require(answer, (list, tuple), "interfaces come as a list or a tuple")
    probes: list[Any] = list(cast("Sequence[Any]", answer))
    for probe in probes:
        require(probe, SurfaceProbe, "an interface is described as one")
        require(probe.surface, str, "the name of an interface is text")
        require(probe.grants, Mapping, "grants are a mapping of entities to their states")
        require(probe.entities, (tuple, type(None)), "the entities of an interface are a tuple")
        for name in (*probe.grants, *(probe.entities or ())):
            require(name, str, "the name of an entity is text")
    return probes


def _told(probe: SurfaceProbe, context: RunContext) -> pb.SurfaceGrants:
    entities = probe.entities or ()
    told = pb.SurfaceGrants(
        surface=probe.surface[:_LONGEST_NAME],
        entities=[name[:_LONGEST_NAME] for name in entities[:_MOST_ENTITIES]],
        entities_known=probe.entities is not None,
        failure=None if probe.failure is None else context.failure(probe.failure),
    )
    for entity, state in probe.grants.items():
        told.grants[entity] = _STATES.get(state, pb.SurfaceGrants.STATE_UNSPECIFIED)
    return told
