"""Many writes through real servers that are killed, over a store that fails over, into a MIS that errs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import grpc

from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate.v1 import writeback_service_pb2 as pb
from tests.support.served import Client, new_request_id
from tests.support.write_mis.connector import NAME, STAFF, STUDENTS
from tests.support.write_mis.process import WriteMisProcess
from tests.support.write_mis.servers import ServerMaker, Serving
from tests.writing.asking import Asked

PROFILE = ["student.*", "staff.*", "behaviour_event.*", "attendance_mark.*", "assessment_result.*"]
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""What a caller asks again after: the last is what a policy answers that is OFF for now."""
_UNSETTLED = (
    pb.WRITE_STATE_PENDING,
    pb.WRITE_STATE_SENDING,
    pb.WRITE_STATE_SENT,
    pb.WRITE_STATE_UNKNOWN,
)
_TIMEOUT = 15.0


@dataclass
class Up:
    """A server and the way to it."""

    serving: Serving
    client: Client


@dataclass
class Campaign:
    """``up`` are servers that callers know, ``gone`` those killed; ``events`` counts what befell."""

    maker: ServerMaker
    mis: WriteMisProcess
    rng: Random
    up: list[Up] = field(default_factory=list[Up])
    gone: list[Up] = field(default_factory=list[Up])
    events: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])

    # --- servers -------------------------------------------------------------------------------------------

    async def start(self, school: str = "", step: str = "", time: int = 1) -> Up:
        """Start a server; one that is to die at a step is no callers' to know.

        It is tried again where there is no primary, which ends a start.
        """
        serving = await asyncio.to_thread(self.maker.start, school, step, time)
        while not serving.target:
            await asyncio.to_thread(self.maker.wait, serving, _TIMEOUT)
            serving = await asyncio.to_thread(self.maker.start, school, step, time)
        up = Up(serving, Client(grpc.aio.insecure_channel(serving.target)))
        if not step:
            self.up.append(up)
        return up

    async def kill(self, up: Up) -> None:
        """End a server at whatever it is doing."""
        if up in self.up:
            self.up.remove(up)
        await asyncio.to_thread(self.maker.kill, up.serving)
        self.gone.append(up)

    async def kill_now_and_then(self, between: tuple[float, float]) -> None:
        """Kill one server after the other, and start another one in its place, until cancelled."""
        while True:
            await asyncio.sleep(self.rng.uniform(*between))
            victim = self.rng.choice(self.up)
            await self.kill(victim)
            self.events["servers killed"] += 1
            await self.start()

    # --- calls ---------------------------------------------------------------------------------------------

    async def register(self, schools: Sequence[str]) -> None:
        """Register schools, have their pupils read, and let everything be written."""
        client = self.up[0].client

        async def one(school: str) -> None:
            await client.create_school(school, NAME, {"url": self.mis.url}, data_profile=PROFILE)
            request = sync.StartSyncRequest(
                school_id=school, datasets=[STUDENTS, STAFF], request_id=new_request_id()
            )
            run = (await client.sync.StartSync(request)).run
            async for state in client.sync.WatchRun(
                sync.WatchRunRequest(school_id=school, run_id=run.run_id)
            ):
                run = state.run
            assert run.state == sync.RUN_STATE_SUCCEEDED, run
            await client.writeback.SetWritePolicy(_policy(school, pb.WRITE_POLICY_ON))

        await asyncio.gather(*map(one, schools))

    async def submit(self, asked: Asked) -> None:
        """Ask for a write until somebody says that it is durable."""
        while not await self.try_to_submit(asked, self.rng.choice(self.up) if self.up else None):
            await asyncio.sleep(self.rng.uniform(0.1, 0.6))

    async def try_to_submit(self, asked: Asked, up: Up | None) -> bool:
        """Ask a server once; whether it answered that the write is durable."""
        if up is None:
            return False
        asked.tries += 1
        try:
            answer = await up.client.writeback.SubmitWrite(asked.request, timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            self.events["submissions without a good answer"] += 1
            if error.code() not in _PASSING:
                self.problems.append(f"{asked.key}: {error.code()} {error.details()}")
                return True
            return False
        asked.answers += 1
        if asked.write_id not in {"", answer.write.write_id}:
            self.problems.append(f"{asked.key} has two writes")
        asked.write_id = answer.write.write_id
        return True

    async def submit_all(self, asked: Sequence[Asked], at_once: int, again: float) -> None:
        """Submit many, some of them twice or more at once, some again later, as who heard nothing does."""
        queue = [*asked, *self.rng.sample(asked, int(len(asked) * again))]
        self.rng.shuffle(queue)
        places = asyncio.Semaphore(at_once)

        async def one(each: Asked) -> None:
            async with places:
                copies = self.rng.choice((1, 1, 1, 1, 2, 3))
                await asyncio.gather(*(self.submit(each) for _ in range(copies)))

        await asyncio.gather(*map(one, queue))

    async def throw_the_switch(self, schools: Sequence[str], seconds: float) -> None:
        """Stop all writing for so long, and see that nothing leaves a second after the answer (G19)."""
        stopped: dict[str, float] = {}

        async def stop(school: str) -> None:
            answer = await self._set_policy(school, pb.WRITE_POLICY_OFF)
            stopped[school] = time.time()
            self.events["queued when the switch was thrown"] += answer.queued
            self.events["in flight when the switch was thrown"] += answer.in_flight

        await asyncio.gather(*map(stop, schools))
        await asyncio.sleep(seconds)
        begins = time.time()
        for line in await asyncio.to_thread(self.mis.noted):
            off = stopped.get(str(line["judged"]).partition("/")[0])
            if "request" in line and off is not None and off + 1.0 < line["request"] < begins:
                self.problems.append(f"{line['judged']} left {line['request'] - off:.2f} s after OFF")
        await asyncio.gather(*(self._set_policy(school, pb.WRITE_POLICY_ON) for school in schools))
        self.events["kill switch thrown"] += 1

    async def _set_policy(self, school: str, policy: pb.WritePolicy.ValueType) -> pb.SetWritePolicyResponse:
        request = _policy(school, policy)
        while True:
            try:
                answer: pb.SetWritePolicyResponse = await self.rng.choice(
                    self.up
                ).client.writeback.SetWritePolicy(request, timeout=_TIMEOUT)
            except (grpc.aio.AioRpcError, IndexError):
                await asyncio.sleep(0.2)
            else:
                return answer

    # --- the end -------------------------------------------------------------------------------------------

    async def settle(self, schools: Sequence[str], seconds: float) -> None:
        """Wait until every write has come to its end, or for so long none has."""
        latest, end = -1, 0.0
        left = [*schools]
        while left:
            await asyncio.sleep(1.0)
            found = {school: len(await self._list(school, _UNSETTLED, 1000)) for school in left}
            left = [school for school, writes in found.items() if writes]
            if latest != (latest := sum(found.values())):
                end = time.monotonic() + seconds
            elif time.monotonic() > end:
                return

    async def ledger(self, schools: Sequence[str]) -> Mapping[str, pb.Write]:
        """Return every write by its key."""
        pages = [await self._list(school, (), 0) for school in schools]
        return {write.idempotency_key: write for page in pages for write in page}

    async def _list(
        self, school: str, states: Sequence[pb.WriteState.ValueType], most: int
    ) -> list[pb.Write]:
        request = pb.ListWritesRequest(school_id=school, states=states, page_size=most or 1000)
        found: list[pb.Write] = []
        while True:
            answer = await self.up[0].client.writeback.ListWrites(request)
            found += answer.writes
            request.page_token = answer.next_page_token
            if most or not request.page_token:
                return found


@asynccontextmanager
async def campaign(maker: ServerMaker, mis: WriteMisProcess, seed: int) -> AsyncGenerator[Campaign]:
    """Have a campaign for the time of the block, and close what it opened."""
    running = Campaign(maker, mis, Random(seed))
    try:
        yield running
    finally:
        for up in [*running.up]:
            await running.kill(up)
        for up in running.gone:  # to close a channel takes its calls for cancelled by their callers
            await up.client.channel.close()


def _policy(school: str, policy: pb.WritePolicy.ValueType) -> pb.SetWritePolicyRequest:
    return pb.SetWritePolicyRequest(school_id=school, policy=policy, request_id=new_request_id())
