"""Asks connectors short questions: nobody waits for ever, and an answer out of shape is their fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from schoolgate_sdk import CountRows, EntityGrantState, Grants, Incomplete, ReadBack, Row, Scope, SourceKey
from schoolgate_server.mis.blame import ContractBroken, ask, connector_at_work

READ_BACK_KEYS = 200
"""Keys per request when a connector is asked for single entities; its protocol promises no more."""

ROWS_PER_KEY = 10
"""Rows that a connector may give per key that it was asked for; one entity is one row in nearly every MIS."""

MOST_COUNTED = 1 << 62
"""A count above this is none; what holds it has 64 bits."""


def require(value: object, kinds: type | tuple[type, ...], rule: str) -> None:
    """Raise ``ContractBroken`` with ``rule`` where ``value`` is none of ``kinds``, whatever its type says."""
    if not isinstance(value, kinds):
        raise ContractBroken(rule)


async def counted(session: CountRows, scope: Scope, limit: timedelta) -> int | None:
    """Return the MIS's own number of rows under ``scope``, where it has one.

    Raises:
        ConnectorError: as the connector raised it; ``ContractBroken`` where its answer is no number of rows.
        ConnectorDefect: the connector raised anything else.
        Transient: it did not answer within ``limit``.
    """
    with connector_at_work():
        asked = session.count(scope)
    return row_count(await ask(asked, limit, "the connector's count of rows"))


def row_count(answer: object) -> int | None:
    """Return ``answer`` if it is a number of rows, or ``None``.

    Raises:
        ContractBroken: it is neither.
    """
    if answer is None:
        return None
    if type(answer) is not int or not 0 <= answer <= MOST_COUNTED:
        raise ContractBroken("a number of rows is an integer, and no negative or enormous one")
    return answer


async def asked_back(
    session: ReadBack, scope: Scope, keys: Sequence[SourceKey], limit: timedelta
) -> Sequence[Row]:
    """Return the rows that the MIS has for ``keys``.

    Raises:
        Incomplete: more came than the keys can have, so that nothing is known of any of them.
        ConnectorError: as the connector raised it; ``ContractBroken`` where its answer is no list of rows.
        ConnectorDefect: the connector raised anything else.
        Transient: it did not answer within ``limit``.
    """
    with connector_at_work():
        asked = session.read_back(scope, keys)
    rows = listed(await ask(asked, limit, "the connector's answer about single entities"))
    if len(rows) > ROWS_PER_KEY * len(keys):
        raise Incomplete(f"asked for {len(keys)} single entities, the connector gave {len(rows)} rows")
    return rows


def listed(rows: object) -> Sequence[Row]:
    """Return ``rows`` if they are a list or a tuple; raises ``ContractBroken`` where they are not."""
    if not isinstance(rows, list | tuple):
        raise ContractBroken("rows come as a list or a tuple")
    return rows  # pyright: ignore[reportUnknownVariableType] - what a row is like is the parser's to judge


async def granted(
    session: Grants, entities: Sequence[str], limit: timedelta
) -> Mapping[str, EntityGrantState]:
    """Return the state of those of ``entities`` that the connector tells.

    Raises:
        ConnectorError: as the connector raised it; ``ContractBroken`` where its answer is no mapping.
        ConnectorDefect: the connector raised anything else.
        Transient: it did not answer within ``limit``.
    """
    with connector_at_work():
        asked = session.grants(entities)
    answer = await ask(asked, limit, "the connector's answer about grants")
    require(answer, Mapping, "grants are a mapping of entities to their states")
    states = {entity: answer[entity] for entity in entities if entity in answer}
    for state in states.values():
        require(state, EntityGrantState, "a grant is one of the states that there are")
    return states
