"""Works on one school's writes while this server owns them."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable

from loguru import logger

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.writes import OPEN, WriteEntry, operation_name
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.tasks import end_tasks, wait_within
from schoolgate_server.writeback import advice
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.confirming import Confirmer
from schoolgate_server.writeback.following import Follower
from schoolgate_server.writeback.school import SchoolWrites
from schoolgate_server.writeback.sending import Sender
from schoolgate_server.writeback.settling import Settler

_STEPS = 6
"""Steps of a write in one go, where each makes the next one due at once: no defect may go round for ever."""

_BATCH = 8
"""Writes that are read at once, per one that may be under way."""

_AFTER_DEFECT = 30.0
"""Seconds for which a write is left alone on which work failed."""


class Worker:
    """One school's writes: those about the same thing one after the other, others at once.

    Args:
        others_wait: says whether another school waits for this one's place.
    """

    def __init__(self, school: SchoolWrites, others_wait: Callable[[], bool]) -> None:
        self._school = school
        self._others_wait = others_wait
        self._sender = Sender(school)
        self._settler = Settler(school)
        self._confirmer = Confirmer(school)
        self._follower = Follower(school, self._confirmer)
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._queue: deque[WriteEntry] = deque()
        self._blocked: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._resting: dict[str, float] = {}
        self._woken = asyncio.Event()
        self._closing = False

    def wake(self) -> None:
        """Look at once for what is due."""
        self._woken.set()

    def close(self) -> None:
        """Begin nothing more, and let nothing leave any more."""
        self._closing = True
        self._school.holder = None
        self._woken.set()

    async def end(self) -> None:
        """Break off what is under way; what had left is stored as of unknown outcome."""
        self.close()
        await end_tasks(*self._tasks)

    async def run(self) -> None:
        """Work until nothing is due, others have waited long enough, or it is closed."""
        now, options = asyncio.get_running_loop().time, self._school.options
        began = idle_since = now()
        follow_at = began
        try:
            while not self._closing:
                self._woken.clear()
                if now() >= follow_at:
                    follow_at = now() + options.follow_every.total_seconds()
                    await self._guarded(self._follower.follow())
                await self._guarded(self._start_due())
                if self._others_wait() and now() - began > options.turn.total_seconds():
                    return
                if self._tasks:
                    idle_since = now()
                elif self._others_wait() or now() - idle_since > options.linger.total_seconds():
                    return
                # Until something ended, somebody woke this up, or a moment has passed.
                await wait_within(self._woken, options.interval.total_seconds())
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._school.reach.close()

    async def _start_due(self) -> None:
        """Begin with what is due, as far as there is room."""
        school, options = self._school, self._school.options
        room = options.concurrency - len(self._tasks)
        if room <= 0:
            return
        if not self._queue:
            self._queue.extend(
                await school.store.writes.due_of(
                    school.school_id, options.environment, school.clock(), options.concurrency * _BATCH
                )
            )
        while self._queue and room > 0:
            entry = self._queue.popleft()
            if self._is_taken(entry.write_id):
                continue
            task = asyncio.create_task(self._work_on(entry), name=f"write {entry.write_id}")
            self._tasks[task] = entry.write_id
            task.add_done_callback(self._ended)
            room -= 1

    def _is_taken(self, write_id: str) -> bool:
        if write_id in self._tasks.values() or write_id in self._school.keeper.busy:
            return True
        rests_until = self._resting.get(write_id)
        if rests_until is None:
            return False
        if rests_until > asyncio.get_running_loop().time():
            return True
        del self._resting[write_id]
        return False

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._woken.set()

    async def _work_on(self, entry: WriteEntry) -> None:
        """Take a write as far as it goes now."""
        school, write_id = self._school, entry.write_id
        pause = school.options.interval.total_seconds()
        try:
            for _ in range(_STEPS):
                before = entry.write.revision
                await self._step(entry)
                latest = await school.store.writes.find(school.school_id, write_id)
                if latest is None:
                    return
                await self._mind_the_slot(latest)
                if latest.due_at is None or latest.due_at > school.clock():
                    return
                if latest.write.revision == before:
                    break
                entry = latest
        except StoreUnavailable:
            logger.warning("write {}: the store does not answer; trying again", write_id)
        except Exception as error:  # noqa: BLE001 - other writes go on, and this one is tried again
            logger.error("write {}: {}", write_id, place_of(error))
            pause = _AFTER_DEFECT
            await self._guarded(self._give_up(write_id))
        self._resting[write_id] = asyncio.get_running_loop().time() + pause

    async def _step(self, entry: WriteEntry) -> None:
        """Do what is due for a write in its state."""
        school = self._school
        is_readable = bool(operation_name(entry.write.operation))
        match entry.write.state:
            case pb.WRITE_STATE_PENDING | pb.WRITE_STATE_UNKNOWN | pb.WRITE_STATE_SENT if not is_readable:
                to.reject(entry, advice.cannot_be_written(advice.contents_lost()), school.clock())
                await school.keeper.save(entry)
            case pb.WRITE_STATE_PENDING:
                await self._sender.send(entry)
            case pb.WRITE_STATE_SENDING:
                # It is due, so its time is over by any clock; were it under way here it would be busy.
                safety = await school.safety(entry.write.operation_name)
                to.lapse(entry, safety, school.clock(), school.options)
                await school.keeper.save(entry)
            case pb.WRITE_STATE_UNKNOWN:
                if await self._settler.settle(entry):
                    await self._sender.send(entry)
            case pb.WRITE_STATE_SENT if entry.found:
                await self._confirmer.confirm(entry)
            case pb.WRITE_STATE_SENT:
                await self._settler.settle(entry)
            case _:
                entry.due_at = None
                await school.keeper.save(entry)

    async def _give_up(self, write_id: str) -> None:
        """Leave a write to a person on which work has failed for too long, if it may have left."""
        school, now = self._school, self._school.clock()
        entry = await school.store.writes.find(school.school_id, write_id)
        if entry is None or entry.write.state not in (pb.WRITE_STATE_UNKNOWN, pb.WRITE_STATE_SENT):
            return
        if to.is_hopeless(entry, now, school.options):
            to.need_attention(entry, advice.undecided("work on it failed, as the log says"), now)
            await school.keeper.save(entry)

    async def _mind_the_slot(self, latest: WriteEntry) -> None:
        """Note who waits in a slot, and let the next one go when it has become free."""
        blocked = self._blocked[latest.slot]
        if latest.write.state == pb.WRITE_STATE_PENDING and latest.write.waits_for:
            blocked[latest.write_id] = latest.position
            return
        blocked.pop(latest.write_id, None)
        if latest.write.state not in OPEN and blocked:
            following = min(blocked, key=lambda write_id: blocked[write_id])
            entry = await self._school.store.writes.find(self._school.school_id, following)
            if entry is not None:
                self._queue.appendleft(entry)
        if not self._blocked.get(latest.slot):  # others of the slot may have ended, or come, meanwhile
            self._blocked.pop(latest.slot, None)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreUnavailable:
            logger.warning("writes of school {}: the store does not answer", self._school.school_id)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            logger.error("writes of school {}: {}", self._school.school_id, place_of(error))
