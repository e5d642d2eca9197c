"""How many calls may stay open for as long as their callers like."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc import calls
from schoolgate_server.rpc.interceptors import Around, Context, MethodInterceptor


class WatchInterceptor(MethodInterceptor):
    """Leaves room for whoever does not watch, and for those who watch other schools.

    All calls at once share one limit. So of those that may stay open for days there are at most ``most``, and
    at most ``most_of_school`` for one school; more are answered with ``TOO_MANY_CALLS``.
    """

    beginnings = ("Watch",)
    """Of methods that end when their callers want."""

    def __init__(self, most: int, most_of_school: int) -> None:
        self._most = most
        self._most_of_school = most_of_school
        self._open: Counter[str] = Counter()

    def around(self, method: str, *, streams: bool) -> Around:
        """Return what a call of ``method`` takes its place in."""

        @asynccontextmanager
        async def placed(request: object, _context: Context) -> AsyncGenerator[None]:
            school = calls.school_of(request) or ""
            if self._open[school] >= self._most_of_school:
                raise _too_many(method, self._most_of_school, " for one school")
            if self._open.total() >= self._most:
                raise _too_many(method, self._most, "")
            self._open[school] += 1
            try:
                yield
            finally:
                self._open[school] -= 1
                if not self._open[school]:
                    del self._open[school]

        return placed


def _too_many(method: str, most: int, of: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_TOO_MANY_CALLS,
        f"this server lets {most} calls watch at once{of}, and so many are open",
        metadata={"method": method, "maximum": str(most)},
    )
