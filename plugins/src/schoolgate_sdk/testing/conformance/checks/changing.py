"""Changes since a position: nothing is missed, an overlap does no harm, a lost position is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol, TypeAlias

from schoolgate_sdk.connector import Dataset, Session
from schoolgate_sdk.errors import ConnectorError, CursorExpired
from schoolgate_sdk.reading import ChangedRows, ReadChanges, ReadRows
from schoolgate_sdk.testing.conformance.bench import Arrival, Bench, Stage
from schoolgate_sdk.testing.conformance.comparing import Key
from schoolgate_sdk.testing.conformance.editing import EDITS
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable

_OVERLAP: Final = timedelta(seconds=30)
_MOST_STEPS: Final = 1_000

_Known: TypeAlias = dict[str, tuple[Dataset, str, Arrival]]
"""By name: a dataset, the position at which a full read of it began, and what that read gave."""


class _Follower(ReadRows, ReadChanges, Protocol):
    """A session that reads in full, and what changed since."""


@asynccontextmanager
async def _edited(bench: Bench) -> AsyncGenerator[tuple[Stage, _Follower, _Known]]:
    """Read everything, let every edit happen, and yield what was known before."""
    async with bench.stage() as stage, stage.session() as session:
        if not isinstance(session, ReadChanges):
            raise NotApplicable("the session has no changes()")
        known = await _positions(stage, session)
        for edit in EDITS:
            edit.happen(stage.world)
        yield stage, session, known


async def _fresh(stage: Stage, session: Session, dataset: Dataset) -> Arrival:
    """Return what a full read gives now."""
    fresh = Arrival()
    fresh.add(dataset, (await stage.sealed(session, dataset)).rows, stage.settings)
    return fresh


async def _positions(stage: Stage, session: Session) -> _Known:
    """Return the datasets of which a full read gives a position."""
    found: _Known = {}
    for dataset in stage.bench.connector.datasets:
        reading = await stage.sealed(session, dataset)
        if reading.end is not None and reading.end.changes_cursor:
            arrival = Arrival()
            arrival.add(dataset, reading.rows, stage.settings)
            found[dataset.name] = dataset, reading.end.changes_cursor, arrival
    return found


async def _follow(
    stage: Stage, session: ReadChanges, dataset: Dataset, cursor: str, into: Arrival
) -> tuple[str, int, int]:
    """Apply the changes after a position to what is known; return the new position, rows and deletions."""
    rows = deletions = 0
    steps = 0
    async for changed in session.changes(stage.scope(dataset), cursor, _OVERLAP):
        _check_step(dataset, changed)
        latest = Arrival()
        latest.add(dataset, changed.rows, stage.settings)
        for parsed in latest.parsed:
            into.entities.pop((parsed.kind, parsed.key), None)
        for parsed in latest.parsed:
            into.take(parsed)
        spaces = {spec.namespace: spec.kind for spec in dataset.kinds}
        for key in changed.deleted:
            into.entities.pop((spaces[key.namespace], key), None)
        rows += len(changed.rows)
        deletions += len(changed.deleted)
        cursor = changed.cursor or cursor
        steps += 1
        if changed.end:
            return cursor, rows, deletions
        if steps > _MOST_STEPS:
            break
    raise CheckFailed(
        f"{dataset.name}: the changes {'never end' if steps > _MOST_STEPS else 'just stop'}",
        "set end=True where nothing follows for now",
    )


def _check_step(dataset: Dataset, changed: ChangedRows) -> None:
    spaces = {spec.namespace for spec in dataset.kinds}
    for key in changed.deleted:
        if key.namespace not in spaces:
            raise CheckFailed(
                f"{dataset.name}: a deletion names a key that is none of the dataset's",
                f"name deletions by keys in {', '.join(sorted(spaces))}",
            )
    if changed.end and not changed.cursor:
        raise CheckFailed(f"{dataset.name}: changes end without a cursor", "say how far the changes go")


async def _follows(bench: Bench) -> str:
    told: list[str] = []
    async with _edited(bench) as (stage, session, known):
        if not known:
            raise CheckFailed(
                "the session has changes(), and no full read gives a position to go on from",
                "set EndOfSnapshot.changes_cursor, taken before the first page",
            )
        for name, (dataset, cursor, arrival) in known.items():
            after, rows, deletions = await _follow(stage, session, dataset, cursor, arrival)
            fresh = await _fresh(stage, session, dataset)
            _check_same(dataset, arrival, fresh)
            await _again(stage, session, dataset, after, arrival, fresh)
            told.append(f"{name} ({rows} rows, {deletions} deletions)")
    return ", ".join(told)


async def _again(
    stage: Stage, session: ReadChanges, dataset: Dataset, cursor: str, arrival: Arrival, fresh: Arrival
) -> None:
    """Go on from the new position with nothing new: whatever the overlap gives again does no harm."""
    await _follow(stage, session, dataset, cursor, arrival)
    _check_same(dataset, arrival, fresh)


def _check_same(dataset: Dataset, followed: Arrival, fresh: Arrival) -> None:
    """Raise ``CheckFailed`` where changes left out what a full read has; what it lacks may be found later."""
    missed: list[Key] = [
        key for key, entities in fresh.entities.items() if followed.entities.get(key) != entities
    ]
    if missed:
        entity = fresh.entities[missed[0]][0]
        raise CheckFailed(
            f"{dataset.name}: changes did not tell of {len(missed)} entities that changed, such as {entity}",
            "yield every row that changed after cursor less overlap, older ones first",
        )


async def _deletions(bench: Bench) -> str:
    """Look the other way: what following still has, and a full read has not, was not told to be gone."""
    told: list[str] = []
    async with _edited(bench) as (stage, session, known):
        for name, (dataset, cursor, arrival) in known.items():
            before = set(arrival.entities)
            await _follow(stage, session, dataset, cursor, arrival)
            fresh = await _fresh(stage, session, dataset)
            stale = [entities[0] for key, entities in arrival.entities.items() if key not in fresh.entities]
            if stale:
                raise CheckFailed(
                    f"{name}: changes did not tell that {len(stale)} entities are gone, such as {stale[0]}",
                    "yield their keys in ChangedRows.deleted; where the MIS does not tell, waive this check",
                )
            gone = len(before - fresh.entities.keys())
            if gone:
                told.append(f"{gone} of {name}")
    if not told:
        raise NotApplicable("nothing is deleted from any dataset whose changes can be followed")
    return f"told to be gone: {', '.join(told)}"


async def _expired(bench: Bench) -> str:
    async with bench.stage() as stage, stage.session() as session:
        if not isinstance(session, ReadChanges):
            raise NotApplicable("the session has no changes()")
        for dataset, _, arrival in (await _positions(stage, session)).values():
            try:
                await _follow(stage, session, dataset, "no position of anybody's", arrival)
            except CursorExpired:
                continue
            except ConnectorError as error:
                raise CheckFailed(
                    f"{dataset.name}: a position that the MIS does not know raises {type(error).__name__}",
                    "raise CursorExpired, so that the server reads in full",
                ) from error
            raise CheckFailed(
                f"{dataset.name}: a position that the MIS does not know is taken for one",
                "raise CursorExpired, so that the server reads in full",
            )
    return "CursorExpired"


CHECKS: tuple[Check, ...] = (
    Check("changes.follow", "Following changes, overlap included, ends in what a full read has.", _follows),
    Check("changes.deletions", "What is deleted is told as deleted to who follows changes.", _deletions),
    Check("changes.expired", "A position that is not known is said to be expired.", _expired),
)
