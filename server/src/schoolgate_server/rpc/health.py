"""Health that tells the truth: SERVING only while the store answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer
from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.ports import Store
from schoolgate_server.tasks import wait_within

OVERALL = ""
"""The service name under which the state of the server as a whole is asked for."""


class HealthStates(HealthServicer):
    """Serves the state (a ``ServingStatus``) of every service, to those who ask once and those who watch.

    grpcio's own servicer keeps its watchers for as long as they like, and every stop would wait for them.
    """

    def __init__(self) -> None:
        self._states: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closing = False

    def set(self, name: str, state: int) -> None:
        """Tell everybody that the service ``name`` is in ``state``. No-op once :meth:`close` was called."""
        if not self._closing:
            self._states[name] = state
            self._tell()

    def close(self) -> None:
        """Say NOT_SERVING for good, and end the watchers after they have been told."""
        self._closing = True
        self._states = dict.fromkeys(self._states, HealthCheckResponse.NOT_SERVING)
        self._tell()

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no service of this name")
        return HealthCheckResponse(status=state)

    async def Watch(
        self, request: HealthCheckRequest, context: Context
    ) -> AsyncIterator[HealthCheckResponse]:
        if self._closing:
            # Told and ended, a client would ask again at once; refused, it waits.
            raise ServiceError(reasons.ERROR_REASON_SHUTTING_DOWN, "")
        told: int | None = None
        while True:
            changed = self._changed
            state = self._states.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
            if state != told:
                told = state
                yield HealthCheckResponse(status=state)
            elif self._closing:
                raise ServiceError(reasons.ERROR_REASON_SHUTTING_DOWN, "")
            else:
                await changed.wait()


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
        self.servicer = HealthStates()
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
            self.servicer.set(name, HealthCheckResponse.NOT_SERVING)
        await self._ask()

    async def run(self) -> None:
        """Keep the states true until cancelled."""
        while True:
            # Where nobody suspects anything it is simply time to ask again.
            await wait_within(self._suspicion, self._every_s)
            self._suspicion.clear()
            await self._ask()

    def stop_serving(self) -> None:
        """Say NOT_SERVING for good, so that no new calls are sent here, and end the watchers."""
        self.servicer.close()

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
                self.servicer.set(name, state)
