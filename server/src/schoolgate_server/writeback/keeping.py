"""Stores what becomes of writes, and does not give up what is known of an attempt that was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from loguru import logger

from schoolgate_sdk import WriteSafety
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from schoolgate_server.tasks import end_tasks
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.transitions import Ending, attempt_of, conclude, postpone


class Keeper:
    """What one server stores of writes.

    Args:
        changed: is told the school of every write that was changed.
    """

    def __init__(
        self, store: Store, clock: Clock, options: WriteOptions, changed: Callable[[str], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._options = options
        self._changed = changed
        self._tasks: set[asyncio.Task[Any]] = set()
        self.busy: set[str] = set()

    async def save(self, entry: WriteEntry) -> bool:
        """Store ``entry`` by compare-and-set; false where another came between."""
        saved = await self._store.writes.save(entry)
        if saved:
            self._changed(entry.school_id)
        return saved

    async def see_through(self, write_id: str, work: Coroutine[Any, Any, object]) -> None:
        """Await ``work`` on a write in a task that goes on where whoever awaits it is cancelled.

        Until it ends the write is ``busy``: nobody else on this server takes it up.
        """
        task = asyncio.create_task(work, name="store what became of a write")
        self._tasks.add(task)
        self.busy.add(write_id)

        def ended(_: asyncio.Task[object]) -> None:
            self._tasks.discard(task)
            self.busy.discard(write_id)

        task.add_done_callback(ended)
        await asyncio.shield(task)

    async def stop(self) -> None:
        """Wait a moment for what is being stored, then end it: a later owner settles what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._options.stop_grace.total_seconds())
        await end_tasks(*self._tasks)

    async def conclude(
        self,
        entry: WriteEntry,
        correlation_id: str,
        ending: Ending,
        safety: WriteSafety,
        *,
        is_certain: bool = True,
    ) -> WriteEntry | None:
        """Store how an attempt ended, whatever the write is by then; return the write as it is afterwards.

        ``is_certain`` says that ``entry`` is what is stored. It is tried for a while where the store does not
        answer; ``None`` where that was in vain. Whoever owns the school meanwhile takes the attempt for one
        of unknown outcome, and that is what is then corrected.
        """
        give_up = self._clock() + self._options.save_for
        latest: WriteEntry | None = entry if is_certain else None
        while True:
            try:
                if latest is None:
                    latest = await self._store.writes.get(entry.school_id, entry.write_id)
                if not self._learn(latest, correlation_id, ending, safety) or await self.save(latest):
                    return latest
                latest = None
                continue
            except StoreUnavailable:
                logger.warning("write {}: how it went is not stored yet", entry.write_id)
            except Exception as error:  # noqa: BLE001 - the next try may succeed, and what is known must not be lost
                logger.error("write {}: how it went is not stored yet: {}", entry.write_id, place_of(error))
            latest = None  # it may have been stored all the same
            if self._clock() >= give_up:
                logger.error("write {}: how it went could not be stored", entry.write_id)
                return None
            await asyncio.sleep(self._options.save_again.total_seconds())

    def _learn(self, latest: WriteEntry, correlation_id: str, ending: Ending, safety: WriteSafety) -> bool:
        """Change ``latest`` by what is known of an attempt; say whether that is to be stored."""
        now = self._clock()
        if attempt_of(latest, correlation_id) is None:
            # Its beginning is not stored; a new revision sees to it that it never will be.
            postpone(latest, None, latest.due_at or now, now)
            return True
        return conclude(latest, correlation_id, ending, safety, now, self._options)
