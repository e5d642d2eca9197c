"""How long reads may take: as long as their callers say, and never longer than the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc import query
from schoolgate_server.rpc.interceptors import Around, Context, MethodInterceptor
from schoolgate_server.store.limits import shortened

_GRACE_S = 1.0
"""Seconds by which MongoDB may end an operation after us: it is we who say why."""


class DeadlineInterceptor(MethodInterceptor):
    """Ends reads after ``seconds``, what they do in MongoDB included, with ``DEADLINE_EXCEEDED``.

    A caller's own deadline counts where it is shorter. Streams of records end by themselves, with a page
    token, so these get ``seconds`` more than that: for callers who do not take what is sent.
    """

    beginnings = ("Get", "List", "Count", "Query")
    """Of methods that only read, and end by themselves: watching goes on as it likes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def around(self, method: str, *, streams: bool) -> Around:
        """Return what ends a call of ``method`` in time."""
        allowed = self._seconds + (query.LONGEST_S if streams else 0)

        @asynccontextmanager
        async def in_time(_request: object, context: Context) -> AsyncGenerator[None]:
            # None without a deadline, whatever the stubs say.
            left = cast("float | None", context.time_remaining())
            seconds = allowed if left is None else min(allowed, left)
            limit = asyncio.timeout(seconds)
            try:
                with shortened(seconds + _GRACE_S):
                    async with limit:
                        yield
            except TimeoutError:
                if not limit.expired():
                    raise
                raise ServiceError(
                    reasons.ERROR_REASON_DEADLINE_EXCEEDED,
                    "",
                    metadata={"method": method, "limit_seconds": f"{allowed:g}"},
                ) from None

        return in_time
