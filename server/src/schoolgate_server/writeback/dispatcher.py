"""Sees to it that every write that is due is worked on, by one server per school at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from functools import partial

from loguru import logger

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.store.lease_holder import held_lease
from schoolgate_server.store.leases import Lease
from schoolgate_server.tasks import end_tasks, wait_within
from schoolgate_server.writeback.gate import PolicyWatch
from schoolgate_server.writeback.keeping import Keeper
from schoolgate_server.writeback.previewing import preview
from schoolgate_server.writeback.reach import Reach, Surroundings, Trouble
from schoolgate_server.writeback.school import Notify, SchoolWrites, ValuesOf, ledger_values
from schoolgate_server.writeback.watching import Watching
from schoolgate_server.writeback.worker import Worker

_MOST_DUE = 100
"""Schools per look for what is due; the next look goes on after the last of them."""

_ELSEWHERE = timedelta(seconds=1)
"""Until the next try to get a school that another server works on."""

_AFTER_DEFECT = timedelta(seconds=30)
"""For how long a school is left alone on which work failed as a whole."""


class Dispatcher:
    """The writes of one server: it sends, finds out, confirms, and tells who watches.

    Args:
        owner: names this server among those that share the store; differs at every start.
        new_id: makes correlation ids of attempts.
        notify: asks for a re-read of what was written.
        values_of: gives the values of a write as a connector takes them; the ledger's own unless given.
    """

    def __init__(
        self,
        around: Surroundings,
        owner: str,
        new_id: Callable[[], str],
        *,
        notify: Notify,
        values_of: ValuesOf | None = None,
    ) -> None:
        store, clock, options = around.store, around.clock, around.options
        self._around = around
        self._store = store
        self._clock = clock
        self._options = options
        self._owner = owner
        self._new_id = new_id
        self._notify = notify
        self._values_of = values_of or ledger_values(store)
        self._watching = Watching(store, clock, options)
        self._keeper = Keeper(store, clock, options, self.changed)
        self._troubles: dict[str, Trouble] = {}
        self._waiting: dict[str, None] = {}
        self._not_before: dict[str, float] = {}
        self._workers: dict[str, Worker | None] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self._after = ""
        self._stopping = False

    async def start(self) -> None:
        """Work on what is due, now and whenever something becomes due on any server."""
        self._loops = [
            asyncio.create_task(self._dispatch(), name="dispatch writes"),
            asyncio.create_task(self._follow(), name="follow writes"),
        ]

    async def stop(self) -> None:
        """Let nothing leave any more, wait a moment for answers to what has left, and break the rest off.

        What had left and was not answered is stored as of unknown outcome, what had not left is queued again.
        """
        self._stopping = True
        await end_tasks(*self._loops)
        workers = [worker for worker in self._workers.values() if worker is not None]
        for worker in workers:
            worker.close()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._options.stop_grace.total_seconds())
        for worker in workers:
            await worker.end()
        await self._keeper.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._options.close_timeout.total_seconds())
        await end_tasks(*self._tasks.values())

    def wake(self, school_id: str) -> None:
        """Look at a school's writes at once: some may be due, and whoever watches may see a change."""
        self.changed(school_id)
        worker = self._workers.get(school_id)
        if worker is not None:
            worker.wake()
        self._waiting[school_id] = None
        self._woken.set()

    def changed(self, school_id: str) -> None:
        """Let whoever watches a school's writes look at once."""
        self._watching.tell(school_id)

    def watch(self, school_id: str) -> AsyncGenerator[WriteEntry | None]:
        """Yield a school's open writes, ``None`` once, then each that changes; see :class:`Watching`."""
        return self._watching.watch(school_id)

    async def preview(self, school: School, entry: WriteEntry) -> pb.WritePayload:
        """Return exactly what would be sent for a write, which need not be stored; nothing leaves.

        Raises:
            ServiceError: see :func:`~schoolgate_server.writeback.previewing.preview`.
        """
        return await preview(self._around, self._values_of, school, entry)

    async def _dispatch(self) -> None:
        while True:
            self._woken.clear()
            try:
                self._fill()
                due = await self._store.writes.due(
                    self._options.environment, self._clock(), _MOST_DUE, self._after
                )
                self._after = due[-1] if len(due) == _MOST_DUE else ""
                self._waiting |= dict.fromkeys(due)
                self._fill()
            except StoreUnavailable:
                logger.warning("cannot look for writes that are due: the store does not answer")
            except Exception as error:  # noqa: BLE001 - without this loop nothing would be sent any more
                logger.error("cannot look for writes that are due: {}", place_of(error))
            await wait_within(self._woken, self._options.interval.total_seconds())

    def _fill(self) -> None:
        """Begin with the schools that have waited longest, as far as there are places."""
        now = asyncio.get_running_loop().time()
        for school_id in list(self._waiting):
            if school_id in self._tasks or self._not_before.get(school_id, 0.0) > now:
                del self._waiting[school_id]  # it is at work, or looked at again soon
            elif len(self._tasks) < self._options.schools:
                del self._waiting[school_id]
                self._not_before.pop(school_id, None)
                task = asyncio.create_task(self._own(school_id), name=f"writes of {school_id}")
                self._tasks[school_id] = task
                task.add_done_callback(partial(self._let_go, school_id))

    def _let_go(self, school_id: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[school_id]
        self._workers.pop(school_id, None)
        self._woken.set()

    def _rest(self, school_id: str, pause: timedelta) -> None:
        self._not_before[school_id] = asyncio.get_running_loop().time() + pause.total_seconds()

    async def _own(self, school_id: str) -> None:
        """Work on a school's writes, if this server gets them."""
        with logger.contextualize(school_id=school_id):
            try:
                ttl = self._options.lease_ttl
                lease = await self._store.write_leases.acquire(school_id, self._owner, ttl)
                if lease is None:
                    self._rest(school_id, _ELSEWHERE)
                else:
                    await self._work(school_id, lease)
            except LeaseLost:
                logger.warning("lost the school's writes to another server")
            except StoreUnavailable:
                self._rest(school_id, _ELSEWHERE)
                logger.warning("the store does not answer; trying again")
            except Exception as error:  # noqa: BLE001 - other schools go on, and this one is tried again
                self._rest(school_id, _AFTER_DEFECT)
                logger.error("cannot work on the school's writes for now: {}", place_of(error))

    async def _work(self, school_id: str, lease: Lease) -> None:
        leases, options = self._store.write_leases, self._options
        school = SchoolWrites(
            school_id=school_id,
            store=self._store,
            clock=self._clock,
            options=options,
            keeper=self._keeper,
            reach=Reach(self._around, school_id, self._troubles.setdefault(school_id, Trouble())),
            policy=PolicyWatch(self._store, school_id, self._clock, options),
            values_of=self._values_of,
            notify=self._notify,
            new_id=self._new_id,
            connectors=self._around.connectors,
        )
        worker = Worker(school, lambda: bool(self._waiting))
        working: asyncio.Task[None] | None = None
        try:
            async with held_lease(leases, lease, options.lease_ttl) as holder:
                school.holder = holder
                if self._stopping:
                    return
                self._workers[school_id] = worker
                working = asyncio.create_task(worker.run(), name=f"work on writes of {school_id}")
                await asyncio.wait({working})
        finally:
            # What has left is waited for, also when the lease is lost: what is learnt is true all the same.
            worker.close()
            if working is not None:
                await asyncio.wait({working})
            if not self._troubles[school_id].tries:
                del self._troubles[school_id]

    async def _follow(self) -> None:
        """Work on schools whose data changed since their confirmed writes were compared with it."""
        while True:
            await asyncio.sleep(self._options.follow_every.total_seconds())
            try:
                followed = await self._store.writes.followed_schools()
                published = await self._store.records.published_of(list(followed))
                for school_id, seq in published.items():
                    if seq > followed[school_id]:
                        self._waiting[school_id] = None
                        self._woken.set()
            except StoreUnavailable:
                logger.warning("cannot follow writes: the store does not answer")
            except Exception as error:  # noqa: BLE001 - without this loop no divergence would be seen any more
                logger.error("cannot follow writes: {}", place_of(error))
