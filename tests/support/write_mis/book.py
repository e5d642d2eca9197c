"""What the MIS has: rows, work that it has accepted and not done yet, and the keys that it has heeded.

All of it is on disk, so a restart loses only what nobody was told of. Beside it lies what the MIS does not
know: for whom each effect was, by the key of the write, kept for the test that judges.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.write_mis.disk import Disk, Line

MARKS, RESULTS, EVENTS, NOTES = "marks", "results", "events", "notes"
WRITTEN = (MARKS, RESULTS, EVENTS, NOTES)
"""Heeds a key; stores an id of ours; can be searched by pupil and day; keeps what it is told to itself."""

STAFF = 3
"""Members of staff."""

ROWS, EFFECTS = "rows.jsonl", "effects.jsonl"


class Book:
    """The MIS's memory in ``folder``. ``pupils`` of them are there from the beginning, numbered from 1."""

    def __init__(self, folder: Path, pupils: int) -> None:
        self._disk = Disk(folder / ROWS)
        self._effects = Disk(folder / EFFECTS)
        self.people = {name: people(count) for name, count in (("students", pupils), ("staff", STAFF))}
        self.rows: dict[str, dict[int, Line]] = {entity: {} for entity in WRITTEN}
        self.jobs: dict[int, Line] = {}
        self._waiting: dict[int, Line] = {}
        self._by_key: dict[str, Line] = {}
        self._numbers = 0
        for line in self._disk.lines():
            self._remember(line)

    def heeded(self, key: str) -> Line | None:
        """Return what a native key has led to: a row, or a job that is not done yet."""
        return self._by_key.get(key)

    def accept(self, entity: str, body: Mapping[str, Any], key: str, judged: str, seconds: float) -> Line:
        """Promise to do a write in so many seconds; return the job."""
        line = self._line("job", entity, body, key, judged) | {"due": time.time() + seconds}
        return self._keep(line)

    def write(self, entity: str, body: Mapping[str, Any], key: str, judged: str) -> Line:
        """Let a write take effect; return the row. A native key that was heeded has no second effect."""
        known = self._by_key.get(key) if key else None
        if known is not None:
            return known
        row = self._keep(self._line("row", entity, body, key, judged))
        self._effects.append({"effect": row["id"], "entity": entity, "judged": judged, "at": row["at"]})
        return row

    def do_what_is_due(self) -> None:
        """Let the jobs take effect whose time has come."""
        now = time.time()
        for job in [job for job in self._waiting.values() if job["due"] <= now]:
            row = self._keep({**job, "what": "row", "id": self._next(), "job": job["id"], "at": now})
            effect = {"effect": row["id"], "entity": row["entity"], "judged": row["judged"], "at": now}
            self._effects.append(effect)

    def arrived(self, entity: str, judged: str) -> None:
        """Note for the judge that a request to write has come, and when."""
        self._effects.append({"request": time.time(), "entity": entity, "judged": judged})

    def note(self, fault: str, entity: str, judged: str) -> None:
        """Note for the judge which fault befell a write."""
        self._effects.append({"fault": fault, "entity": entity, "judged": judged})

    def noted(self) -> list[Line]:
        """Return all that was noted for the judge."""
        return self._effects.lines()

    def _line(self, what: str, entity: str, body: Mapping[str, Any], key: str, judged: str) -> Line:
        return {
            "what": what,
            "id": self._next(),
            "entity": entity,
            "at": time.time(),
            "key": key,
            "judged": judged,
            "body": dict(body),
        }

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _keep(self, line: Line) -> Line:
        self._disk.append(line)
        self._remember(line)
        return line

    def _remember(self, line: Line) -> None:
        self._numbers = max(self._numbers, line["id"])
        if line["what"] == "job":
            self.jobs[line["id"]] = self._waiting[line["id"]] = line
        else:
            self.rows[line["entity"]][line["id"]] = line
            if "job" in line:
                self._waiting.pop(line["job"])["row"] = line["id"]
        if line["key"]:
            self._by_key[line["key"]] = line


def people(count: int) -> list[Line]:
    """Return as many people, numbered from 1."""
    return [
        {"id": number, "surname": f"Surname {number}", "forename": "Robin"} for number in range(1, count + 1)
    ]
