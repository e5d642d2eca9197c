"""Asks a MIS what the school lets us read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from schoolgate.v1.school_service_pb2 import CheckConnectionResponse, EntityGrant
from schoolgate_sdk import Connector, EntityGrantState, Grants, Session
from schoolgate_server.mis.asking import granted

_STATES = {
    EntityGrantState.GRANTED: EntityGrant.STATE_GRANTED,
    EntityGrantState.DENIED: EntityGrant.STATE_DENIED,
    EntityGrantState.UNKNOWN_ENTITY: EntityGrant.STATE_UNKNOWN_ENTITY,
}


async def check_grants(connector: Connector, session: Session, limit: timedelta) -> CheckConnectionResponse:
    """Return what is granted, per entity that the connector's datasets need.

    Raises:
        ConnectorError: the MIS cannot be reached, refuses us, or does not answer within ``limit``.
        ConnectorDefect: the connector failed otherwise.
    """
    needed: dict[str, list[str]] = {}
    for dataset in connector.datasets:
        for entity in dataset.entities:
            needed.setdefault(entity, []).append(dataset.name)
    states: Mapping[str, EntityGrantState] = {}
    if isinstance(session, Grants):
        states = await granted(session, list(needed), limit)
    grants = [
        EntityGrant(
            entity=entity,
            state=_STATES[states[entity]] if entity in states else EntityGrant.STATE_UNSPECIFIED,
            datasets=datasets,
        )
        for entity, datasets in needed.items()
    ]
    return CheckConnectionResponse(ok=True, grants=grants)
