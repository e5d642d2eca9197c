"""Reads less than a snapshot: what changed, or what a notification named.

Neither ever proves an absence. What the MIS says was deleted goes, within the same thresholds as what a
snapshot lacks; what it is only silent about stays until the next snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import NamedTuple

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import (
    ChangedRows,
    ConnectorError,
    CursorExpired,
    Dataset,
    Incomplete,
    ReadBack,
    ReadChanges,
    Row,
    Scope,
    SourceKey,
    decode_key,
    encode_key,
)
from schoolgate_sdk.keys import check_key
from schoolgate_server.ingest.identity import Key
from schoolgate_server.mis.asking import READ_BACK_KEYS, asked_back, listed, require
from schoolgate_server.mis.blame import ConnectorDefect, ask, connector_at_work
from schoolgate_server.store.checkpoints import Checkpoint
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.sync.context import RunCancelled, RunContext
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.outcome import DatasetOutcome
from schoolgate_server.sync.partial import PartialRead

MOST_CHANGES = 50_000
"""Changed rows and deletions of one read that are kept in memory until its end; where there are more, a full
snapshot costs little more and proves more."""

_CLOSE_SECONDS = 10
"""Longest wait for a read to let go of what it holds."""


class _NotThisWay(Exception):
    """The dataset must be read in full instead; the text says why."""


class _Changes(NamedTuple):
    """What a read of changes came to: the last position that was given, the records that the MIS deleted, and
    what broke the read off, if anything did.
    """

    cursor: str
    deleted: frozenset[str]
    error: Exception | None = None


async def sync_targets(
    context: RunContext, dataset: Dataset, scope: Scope, state: pb.DatasetRun
) -> DatasetOutcome | None:
    """Read what the run's targets name; ``None`` where the dataset must be read in full instead.

    What the MIS does not return is not tombstoned: ``rows_expected`` less ``rows_read`` says how much it is.
    """
    keys = context.entry.targets.get(dataset.name, [])
    session = context.session
    if state.layer == pb.SYNC_LAYER_FULL:
        return None  # decided before an interruption
    if (why := await _needs_a_snapshot(context, dataset, state)) is not None:
        return _fallen_back(state, why)
    if not keys:
        return _fallen_back(state, "a notification named the kind as a whole, or too many entities of it")
    if not isinstance(session, ReadBack):
        return _fallen_back(state, f"connector {context.connector.name!r} cannot read single entities")
    state.rows_expected = len(keys)
    reading = await PartialRead.of(context, dataset, scope, state)
    try:
        for start in range(0, len(keys), READ_BACK_KEYS):
            some = [decode_key(key) for key in keys[start : start + READ_BACK_KEYS]]
            rows = await asked_back(session, scope, some, context.options.page_timeout)
            await reading.take(rows)
            await reading.show(state.rows_read + len(rows))
    except (LeaseLost, StoreUnavailable, asyncio.CancelledError):
        await reading.abandon()
        raise
    except (ConnectorError, ConnectorDefect, RunCancelled):
        if reading.doubt is None:
            await reading.finish()  # what was read is true, whether or not the rest comes
        else:
            await reading.abandon()
        raise
    if reading.doubt is not None:
        await reading.abandon()
        return _fallen_back(state, reading.doubt)
    return await reading.finish()


async def _needs_a_snapshot(context: RunContext, dataset: Dataset, state: pb.DatasetRun) -> str | None:
    """Return why less than a whole snapshot may not be read at present; ``None`` where it may."""
    if not state.evidence.scope_unchanged:
        return "rows are read under another scope than those of the last sealed snapshot"
    for open_hold in await context.ingest.store.holds.list(context.ingest.school_id):
        if open_hold.dataset == dataset.name:
            return "changes that only a whole snapshot can find again wait for an operator"
    return None


async def sync_changes(
    context: RunContext, dataset: Dataset, scope: Scope, state: pb.DatasetRun
) -> DatasetOutcome | None:
    """Read what changed since the last read; ``None`` where the dataset must be read in full instead.

    The position is stored only once everything up to it is, so that a crash makes some of it be read again
    and nothing be missed.
    """
    if state.layer == pb.SYNC_LAYER_FULL:
        return None  # decided before an interruption
    try:
        session, begin_at = await _begin(context, dataset, state)
    except _NotThisWay as why:
        return _fallen_back(state, str(why))
    reading = await PartialRead.of(context, dataset, scope, state)
    try:
        changes = await _read(reading, context, dataset, session, scope, begin_at)
        if reading.doubt is not None:
            raise _NotThisWay(reading.doubt)
    except CursorExpired:
        await reading.abandon()
        return _fallen_back(state, "the MIS no longer knows the position from which changes were to be read")
    except _NotThisWay as why:
        await reading.abandon()
        return _fallen_back(state, str(why))
    except (LeaseLost, StoreUnavailable, asyncio.CancelledError):
        await reading.abandon()
        raise
    outcome = await reading.finish(changes.deleted)
    if outcome.state == pb.DATASET_STATE_SUCCEEDED and changes.cursor:
        await store_checkpoint(context, dataset.name, changes.cursor)
    if changes.error is not None:
        raise changes.error
    return outcome


async def _begin(context: RunContext, dataset: Dataset, state: pb.DatasetRun) -> tuple[ReadChanges, str]:
    """Return the session, which can be asked for changes, and the position to begin at.

    Raises:
        _NotThisWay: a whole snapshot is needed.
    """
    session = context.session
    if not isinstance(session, ReadChanges):
        raise _NotThisWay(f"connector {context.connector.name!r} cannot be asked for changes")
    if (why := await _needs_a_snapshot(context, dataset, state)) is not None:
        raise _NotThisWay(why)
    checkpoint = await context.ingest.store.checkpoints.get(context.ingest.school_id, dataset.name)
    if checkpoint is None:
        raise _NotThisWay("no position is known from which changes could be read")
    if checkpoint.fingerprint != state.evidence.scope_fingerprint:
        raise _NotThisWay("what is read from the MIS is not what was read when the position was given")
    return session, checkpoint.cursor


async def store_checkpoint(context: RunContext, dataset: str, cursor: str) -> None:
    """Keep the position from which changes are read next; everything up to it must be stored.

    Raises:
        LeaseLost: another server owns the school by now.
    """
    state = next(part for part in context.entry.run.datasets if part.dataset == dataset)
    checkpoint = Checkpoint(cursor, state.evidence.scope_fingerprint)
    await context.ingest.store.checkpoints.put(context.ingest.lease(), dataset, checkpoint)


def _fallen_back(state: pb.DatasetRun, why: str) -> DatasetOutcome | None:
    """Let ``state`` say that the dataset is read in full, and why."""
    state.layer, state.fallback = pb.SYNC_LAYER_FULL, why
    return None


async def _read(
    reading: PartialRead,
    context: RunContext,
    dataset: Dataset,
    session: ReadChanges,
    scope: Scope,
    cursor: str,
) -> _Changes:
    """Take in the changes after ``cursor``, as far as they come.

    Raises:
        CursorExpired: the MIS does not know ``cursor``.
        _NotThisWay: there are too many to be read this way.
    """
    with connector_at_work():
        pages = session.changes(scope, cursor, context.options.changes_overlap)
    rows: list[Row] = []
    deleted: set[str] = set()
    broken_off: Exception = Incomplete("the read of changes ended without saying that nothing follows")
    try:
        async with aclosing(_pages(pages, context.options)) as given:
            async for page in given:
                rows += page.rows
                # Of a page that has an entity and says that it was deleted, the row is believed.
                deleted |= await _deleted_of(context, dataset, page.deleted)
                deleted -= await reading.about(page.rows)
                if len(rows) + len(deleted) > MOST_CHANGES:
                    raise _NotThisWay(f"more than {MOST_CHANGES:,} entities changed")
                await reading.show(len(rows))
                cursor = page.cursor or cursor
                if page.end:
                    await reading.take_changes(rows)
                    return _Changes(cursor, frozenset(deleted))
    except CursorExpired:
        raise
    except (ConnectorError, ConnectorDefect, RunCancelled) as error:
        broken_off = error
    # What came before is true, and so is its position.
    await reading.take_changes(rows)
    return _Changes(cursor, frozenset(deleted), broken_off)


async def _deleted_of(context: RunContext, dataset: Dataset, keys: Sequence[SourceKey]) -> frozenset[str]:
    """Return the ids of the records that ``keys`` of the dataset's own number spaces name."""
    kinds = {spec.namespace: spec.kind for spec in dataset.kinds}
    named: list[Key] = []
    for key in keys:
        with connector_at_work():
            check_key(key)
            if key.namespace not in kinds:
                raise ValueError(f"dataset {dataset.name} has no keys in the number space of a deleted one")
        named.append((kinds[key.namespace], encode_key(key)))
    await context.identities.look_up(named)
    return frozenset(context.identities.own(*each) for each in named)


async def _pages(pages: AsyncIterator[ChangedRows], options: SyncOptions) -> AsyncGenerator[ChangedRows]:
    """Yield the pages of a read of changes, each within its time and in shape.

    Raises:
        Incomplete: it does not come to an end.
        ConnectorError, ConnectorDefect: as the connector raised it, or a page is out of shape.
    """
    clock = asyncio.get_running_loop().time
    ends_at = clock() + options.limits.duration.total_seconds()
    empty = 0
    try:
        while True:
            with connector_at_work():
                asked = anext(pages, None)
            page = await ask(asked, options.page_timeout, "the next page of changes")
            if page is None:
                return
            with connector_at_work():
                _check_shape(page)
            empty = 0 if page.rows or page.deleted else empty + 1
            if empty > options.limits.empty_pages or clock() > ends_at:
                raise Incomplete("the read of changes does not come to an end")
            yield page
    finally:
        if isinstance(pages, AsyncGenerator):
            with suppress(ConnectorError, ConnectorDefect):
                await ask(pages.aclose(), timedelta(seconds=_CLOSE_SECONDS), "closing the read of changes")


def _check_shape(page: ChangedRows) -> None:
    """Raise where ``page`` is not what a read of changes is to yield."""
    require(page, ChangedRows, "a read of changes yields changed rows")
    listed(page.rows)
    require(page.deleted, (list, tuple), "deleted keys come as a list or a tuple")
    require(page.cursor, str, "a cursor is text")
    require(page.end, bool, "something follows or nothing does")
