"""dlt beside schoolgate: starts its process, chooses the fastest of its ways, and checks what it made."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from bench import progress, source
from bench.dlt_loads import WAYS, Mis
from bench.stage import MIS_NUMBER, YEAR, Stage

_MONTH = date(2026, 10, 1)
"""Up to when marks are loaded to choose a way: the slower one would take minutes for a year."""


_Answer: TypeAlias = Any


@dataclass(slots=True)
class Peer:
    """A process of :mod:`bench.dlt_loads`. ``way`` is how it loads what lies before ``until``; ``tried`` has
    the rows/s of each way, first loads and unchanged, as they were when the fastest was chosen.
    """

    stage: Stage
    folder: Path
    process: subprocess.Popen[str]
    way: str = ""
    until: date = YEAR[1]
    tried: dict[str, dict[str, float]] = field(default_factory=lambda: {"first_load": {}, "unchanged": {}})
    _copies: int = 0
    _distinct: dict[tuple[date, int], dict[str, int]] = field(
        default_factory=dict[tuple[date, int], dict[str, int]]
    )

    def choose(self) -> None:
        """Load a month in each way and once more unchanged, and keep to the way that is fastest over both.

        Once before that, unmeasured: what dlt does once per process is no matter of rows.
        """
        self.until = _MONTH
        took: dict[str, float] = {}
        for way in WAYS:
            self.way = way
            progress.say(f"dlt: {way}")
            self.first_load()
            first, again = self.first_load(), self.load()
            rows = sum(self.check().values())
            self.tried["first_load"][way] = rows / first
            self.tried["unchanged"][way] = rows / again
            took[way] = first + again
        self.way = min(took, key=lambda way: took[way])
        self.until = YEAR[1]

    def first_load(self) -> float:
        """Load into a new file; return the seconds."""
        self._copies += 1
        return self.load()

    def load(self) -> float:
        """Load into the latest file; return the seconds."""
        seconds: float = self._ask({"way": self.way})
        return seconds

    def check(self) -> dict[str, int]:
        """Compare the latest file with the MIS: rows, those that are active, their validity, and every mark;
        return the rows of each dataset.
        """
        snapshot = self.until, self.stage.world.revision
        distinct = self._distinct.get(snapshot)
        if distinct is None:
            distinct = source.distinct_rows(self.stage, source.reads(self.until))
            self._distinct[snapshot] = distinct
        marks = self.folder / "marks.jsonl"
        told: dict[str, list[int]] = self._ask({"marks": str(marks)})
        expected = {name: [rows, rows, 1] for name, rows in distinct.items()}
        assert told == expected, f"{told} instead of {expected}"
        with marks.open(encoding="utf-8") as lines:
            found = {_dated(json.loads(line)) for line in lines}
        wanted = {
            (m.pupil, m.date.isoformat(), m.session, m.code, m.comment)
            for m in self.stage.world.marks(YEAR[0], self.until)
        }
        assert found == wanted, "dlt's copy differs from the MIS"
        return distinct

    def _ask(self, question: Mapping[str, str]) -> _Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        copy = self.folder / f"copy-{self._copies}"
        asked = {**question, "folder": str(copy), "reads": source.reads(self.until)}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"dlt's process ended:\n{(self.folder / 'log').read_text()[-4000:]}")
        return json.loads(line)


def _dated(mark: list[Any]) -> tuple[Any, ...]:
    """Return a mark with its day as a date: dlt takes dictionaries' texts of the MIS's form for instants."""
    return (mark[0], mark[1][:10], *mark[2:])


@contextmanager
def started(stage: Stage) -> Generator[Peer]:
    """Run dlt's process while the block lasts."""
    mis = Mis(
        base_url=stage.simulator.base_url,
        school=str(MIS_NUMBER),
        headers=source.headers(stage.simulator),
    )
    with tempfile.TemporaryDirectory(prefix="schoolgate-bench-dlt-") as name:
        folder = Path(name)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.dlt_loads"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            peer = Peer(stage, folder, process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(mis) + "\n")
            yield peer
        finally:
            process.kill()
            process.communicate()
