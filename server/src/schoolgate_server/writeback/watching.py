"""Tells whoever watches a school's writes what became of each, whichever server did it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

from schoolgate_server.model.clock import Clock
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.store import Store
from schoolgate_server.tasks import wait_within
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.options import WriteOptions

_MOMENT = timedelta(seconds=0.5)
"""How much is read again at each look; all of the overlap only now and then, for that is much more."""

_THOROUGHLY = 2.0
"""Seconds between two looks that read all of the overlap."""


class Watching:
    """All that is watched on one server."""

    def __init__(self, store: Store, clock: Clock, options: WriteOptions) -> None:
        self._store = store
        self._clock = clock
        self._options = options
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def tell(self, school_id: str) -> None:
        """Let whoever watches a school look at once: a write of it changed on this server."""
        for event in self._watchers.get(school_id, ()):
            event.set()

    async def watch(self, school_id: str) -> AsyncGenerator[WriteEntry | None]:
        """Yield the writes that have not come to their end, ``None`` once, then each that changes.

        Each comes in its latest state, at least once; a state that did not last may be left out.

        Raises:
            StoreUnavailable: watch again.
        """
        event = asyncio.Event()
        self._watchers[school_id].add(event)
        try:
            news = _News(self._store, school_id, self._clock() - self._options.watch_overlap, self._options)
            async for entry in self._open(school_id):
                news.is_new(entry)
                yield entry
            yield None
            looked_thoroughly_at = 0.0
            while True:
                event.clear()
                now = asyncio.get_running_loop().time()
                is_thorough = now - looked_thoroughly_at >= _THOROUGHLY
                looked_thoroughly_at = now if is_thorough else looked_thoroughly_at
                async for entry in news.look(self._options.watch_overlap if is_thorough else _MOMENT):
                    yield entry
                await wait_within(event, self._options.watch_every.total_seconds())
        finally:
            self._watchers[school_id].discard(event)
            if not self._watchers[school_id]:
                del self._watchers[school_id]

    async def _open(self, school_id: str) -> AsyncGenerator[WriteEntry]:
        after: tuple[datetime, str] | None = None
        while True:
            page = await self._store.writes.open_of(school_id, self._options.watch_page, after)
            for entry in page:
                yield entry
            if len(page) < self._options.watch_page:
                return
            after = to.utc(page[-1].write.submitted_at), page[-1].write_id


class _News:
    """What one watcher has been told of late, and from when on it has to look again."""

    def __init__(self, store: Store, school_id: str, since: datetime, options: WriteOptions) -> None:
        self._store = store
        self._school_id = school_id
        self._since = since
        self._latest = since
        self._page = options.watch_page
        self._told: dict[str, tuple[int, datetime]] = {}

    def is_new(self, entry: WriteEntry) -> bool:
        """Take note of a write that is told; say whether its revision was told before."""
        at = to.utc(entry.write.updated_at)
        if at < self._since:
            return True
        known = self._told.get(entry.write_id)
        if known is not None and known[0] >= entry.write.revision:
            return False
        self._told[entry.write_id] = entry.write.revision, at
        return True

    async def look(self, overlap: timedelta) -> AsyncGenerator[WriteEntry]:
        """Yield what changed since the last look, and ``overlap`` before what came last."""
        start, limit = max(self._since, self._latest - overlap), self._page
        while True:
            page = await self._store.writes.changed(self._school_id, start, limit)
            for entry in page:
                self._latest = max(self._latest, to.utc(entry.write.updated_at))
                if self.is_new(entry):
                    yield entry
            if len(page) < limit:
                break
            last = to.utc(page[-1].write.updated_at)
            limit = limit * 2 if last <= start else self._page  # many at one moment are read at once
            start = max(start, last)
        if overlap > _MOMENT:
            self._forget(self._latest - overlap)

    def _forget(self, before: datetime) -> None:
        """Look no further back than ``before``, and remember nothing of what was told then."""
        self._since = max(self._since, before)
        self._told = {write_id: told for write_id, told in self._told.items() if told[1] >= self._since}
