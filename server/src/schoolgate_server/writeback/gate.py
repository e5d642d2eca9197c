"""The last moment at which a write can be kept from leaving, and the policy as it was read just now.

The connector calls the gate after every wait, when all is ready and nothing has left. A server that stalled
and wakes up finds there that its time is over (G15), and the kill switch stops what waits for its turn at the
MIS (G19): the policy must have been read within the last moments.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from loguru import logger

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import Departure, WriteStopped
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.write_policies import Policies
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store
from schoolgate_server.tasks import end_tasks
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.outcomes import Stop


class PolicyWatch:
    """What may be written for one school, read again and again while something is being sent."""

    def __init__(self, store: Store, school_id: str, clock: Clock, options: WriteOptions) -> None:
        self._store = store
        self._school_id = school_id
        self._clock = clock
        self._options = options
        self._policies = Policies()
        self._read_at: datetime | None = None
        self._sending = 0
        self._task: asyncio.Task[None] | None = None

    def lets(self, entry: WriteEntry) -> bool:
        """Say whether the policy, as it was read last, lets a write leave: it is ON, or it was approved."""
        if entry.write.needs_approval and not is_approved(entry):
            return False
        policy = self.of(entry)
        return policy == pb.WRITE_POLICY_ON or (policy == pb.WRITE_POLICY_APPROVAL and is_approved(entry))

    def of(self, entry: WriteEntry) -> pb.WritePolicy.ValueType:
        """Return the policy of a write, as it was read last."""
        return self._policies.of(entry.write.operation_name).policy

    def cancels(self, entry: WriteEntry) -> bool:
        """Say whether what is queued was cancelled since a write was, by its caller or by a person later,
        whatever holds now.
        """
        before = self._policies.of(entry.write.operation_name).cancels_before
        queued_at = entry.requeued_at or entry.write.submitted_at.ToDatetime(tzinfo=UTC)
        return before is not None and queued_at <= before

    def is_fresh(self) -> bool:
        """Say whether it was read so lately that it can be gone by."""
        if self._read_at is None:
            return False
        age = self._clock() - self._read_at
        return -self._options.policy_age <= age <= self._options.policy_age  # a clock may be set back

    async def read(self) -> None:
        """Read the policies now.

        Raises:
            StoreUnavailable: they cannot be read; what was read before grows old.
        """
        began = self._clock()  # what is set from now on may not be in it
        self._policies = await self._store.write_policies.in_force(self._school_id, self._options.environment)
        self._read_at = began

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Keep them fresh while the block runs."""
        self._sending += 1
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"write policy {self._school_id}")
        try:
            yield
        finally:
            self._sending -= 1
            if not self._sending:
                await self._rest()

    async def _rest(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end_tasks(task)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._options.policy_every.total_seconds())
            try:
                await self.read()
            except StoreUnavailable:
                logger.warning("cannot read the policy of writes: the store does not answer")
            except Exception as error:  # noqa: BLE001 - a policy that is not read stops what would leave
                logger.error("cannot read the policy of writes: {}", place_of(error))


def is_approved(entry: WriteEntry) -> bool:
    """Say whether a second person has approved a write."""
    return bool(entry.write.approved_by)


class Gate:
    """The gate of one attempt; a connector calls it, from whatever thread."""

    def __init__(
        self,
        entry: WriteEntry,
        until: datetime,
        policy: PolicyWatch,
        lease: Callable[[], Lease | None],
        clock: Clock,
        *,
        announces: bool,
    ) -> None:
        self._entry = entry
        self.until = until
        self._policy = policy
        self._lease = lease
        self._clock = clock
        self._lock = threading.Lock()
        self.announces = announces
        self._closed = False
        self.left = False
        self.stop: Stop | None = None
        self.departure: Departure | None = None

    def enter(self) -> None:
        """Let an operation through that does not announce when it leaves: it may, from now on.

        Raises:
            WriteStopped: it must not.
        """
        self._look()
        self.left = True

    def __call__(self, departure: Departure) -> None:
        """Let what is about to leave through, and note it.

        Raises:
            WriteStopped: it must not leave.
        """
        with self._lock:
            if self.announces or self._closed:
                self._look()
            self.left = True
            self.departure = departure

    def close(self) -> None:
        """Let nothing leave from now on: nobody waits for an answer any more."""
        with self._lock:
            self._closed = True

    def _look(self) -> None:
        stop = self._why_not()
        if stop is not None:
            self.stop = self.stop or stop
            raise WriteStopped(f"the server keeps the write back: {stop.value}")

    def _why_not(self) -> Stop | None:
        now = self._clock()
        lease = self._lease()
        if self._closed or now >= self.until:
            return Stop.LATE
        if lease is None or now >= lease.expires_at:
            return Stop.LEASE
        if not self._policy.is_fresh():
            return Stop.UNSURE
        # What may have left before is no longer queued, and is followed to its end.
        is_cancelled = self._entry.settles_at is None and self._policy.cancels(self._entry)
        return Stop.POLICY if is_cancelled or not self._policy.lets(self._entry) else None
