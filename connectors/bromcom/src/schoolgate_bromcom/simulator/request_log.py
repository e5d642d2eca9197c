"""What was asked for, counted: tests read it to see what a connector did."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from schoolgate_bromcom.simulator.faults import Surface

_MOST_ENTRIES: Final = 1000


class RequestLog:
    """Counts per entity, and the latest requests. It holds neither filters nor rows."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._entries: deque[dict[str, object]] = deque(maxlen=_MOST_ENTRIES)

    def add(
        self,
        entity: str,
        school_id: str,
        page: int | None,
        status: int,
        rows: int,
        surface: Surface = "partner",
    ) -> None:
        """Take down one request; ``page`` is ``None`` where the filter was not understood."""
        self._requests[entity] += 1
        self._rows[entity] += rows
        self._entries.append(
            {
                "surface": surface,
                "entity": entity,
                "school": school_id,
                "page": page,
                "status": status,
                "rows": rows,
            }
        )

    def as_json(self) -> dict[str, object]:
        """Return counts and the latest requests, oldest first."""
        entities = {
            entity: {"requests": count, "rows": self._rows[entity]}
            for entity, count in sorted(self._requests.items())
        }
        return {"requests": self._requests.total(), "entities": entities, "latest": list(self._entries)}

    def clear(self) -> None:
        """Forget everything."""
        self._requests.clear()
        self._rows.clear()
        self._entries.clear()
