"""Health that tells the truth: SERVING only while the store answers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from loguru import logger

from schoolgate_server.rpc.ports import Store

OVERALL = ""
"""The service name under which the state of the server as a whole is asked for."""


class HealthMonitor:
    """Asks the store every few seconds whether it answers, and tells all who check or watch.

    ``serving`` names the services that this release serves; ``unserved`` those that it only describes, which
    are never SERVING. Before the first answer of the store nothing is.
    """

    def __init__(
        self,
        store: Store,
        serving: Collection[str],
        unserved: Collection[str],
        *,
        every_s: float = 2.0,
        patience_s: float = 3.0,
    ) -> None:
        self.servicer = aio.HealthServicer()
        self._store = store
        self._serving = (OVERALL, *serving)
        self._unserved = tuple(unserved)
        self._every_s = every_s
        self._patience_s = patience_s
        self._suspicion = asyncio.Event()
        self._healthy: bool | None = None

    def suspect(self) -> None:
        """Have the store asked at once, because a call has just found it unavailable."""
        self._suspicion.set()

    async def prepare(self) -> None:
        """Set the first state of every service; call it before the port opens."""
        for name in self._unserved:
            await self.servicer.set(name, HealthCheckResponse.NOT_SERVING)
        await self._ask()

    async def run(self) -> None:
        """Keep the states true until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._suspicion.wait()
            except TimeoutError:
                pass  # nobody suspects anything: it is simply time to ask again
            self._suspicion.clear()
            await self._ask()

    async def stop_serving(self) -> None:
        """Say NOT_SERVING for good, so that no new calls are sent here."""
        await self.servicer.enter_graceful_shutdown()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._store.ping()
            healthy = True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer; and this must go on asking
            healthy = False
            if self._healthy is not False:
                logger.opt(exception=True).warning(
                    "store does not answer, not serving: {}", type(error).__name__
                )
        if healthy and self._healthy is False:
            logger.info("store answers again, serving")
        if healthy is not self._healthy:
            self._healthy = healthy
            state = HealthCheckResponse.SERVING if healthy else HealthCheckResponse.NOT_SERVING
            for name in self._serving:
                await self.servicer.set(name, state)
