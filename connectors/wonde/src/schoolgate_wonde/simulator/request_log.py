"""What was asked for, counted: tests read it to see what a connector did."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

_MOST_ENTRIES: Final = 1000


class RequestLog:
    """Counts per resource, and the latest requests. It holds neither queries nor rows."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._entries: deque[dict[str, object]] = deque(maxlen=_MOST_ENTRIES)

    def add(self, method: str, school: str, resource: str, status: int) -> None:
        """Take down one request."""
        self._requests[resource] += 1
        self._entries.append({"method": method, "school": school, "resource": resource, "status": status})

    @property
    def total(self) -> int:
        """How many requests came."""
        return self._requests.total()

    def as_json(self) -> dict[str, object]:
        """Return counts and the latest requests, oldest first."""
        counts = dict(sorted(self._requests.items()))
        return {"requests": self.total, "resources": counts, "latest": list(self._entries)}

    def clear(self) -> None:
        """Forget everything."""
        self._requests.clear()
        self._entries.clear()
