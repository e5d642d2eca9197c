"""How a dataset must end, and which records leave with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.simulation.base import COUNT, FRACTION, DatasetFacts, Version
from tests.simulation.meaning import Key, Meaning


class Judge:
    """Decides about absences. Keeps what is held, and what an operator approved of it."""

    def __init__(self) -> None:
        self._held: dict[str, dict[Key, int]] = {}
        self._approved: dict[str, dict[Key, int]] = {}

    def approve(self, dataset: str) -> None:
        """Take note that an operator approved what is held: these deletions of these versions."""
        self._approved[dataset] = self._held[dataset]

    def seal(self, dataset: str) -> None:
        """Take note that nothing of ``dataset`` is held any more."""
        self._held.pop(dataset, None)
        self._approved.pop(dataset, None)

    def judge(
        self,
        part: DatasetFacts,
        meanings: Sequence[Meaning],
        absent: set[Key],
        total: int,
        answered: set[Key],
        lives: Mapping[Key, Sequence[Version]],
        runs: frozenset[str],
    ) -> tuple[str, set[Key], set[Key]]:
        """Return how the dataset must end, which records leave, and which are left to the next run.

        ``absent`` are the live records that a read does not have, and that no row may be about; ``total``
        counts all, with those that came.
        """

        def by_row(version: Version) -> bool:
            return version.run in runs and version.live and version.cause == "SOURCE"

        if part.expected:
            [state] = part.expected
            return state, set(), set()
        if any(meaning.key is None for meaning in meanings):
            return "INCOMPLETE", set(), set()
        doubtful = len(absent) == total or (len(absent) > COUNT and len(absent) > FRACTION * total)
        if absent and doubtful:
            held = {key: sum(each.live or each.run not in runs for each in lives[key]) for key in absent}
            if self._approved.get(part.dataset) != held:
                self._held[part.dataset] = held
                self._approved.pop(part.dataset, None)
                return "HELD", set(), set()
        # What the run itself wrote from a row is left to the next one (G06).
        leaving = {key for key in absent if not any(map(by_row, lives[key]))}
        if leaving and part.read_back_error:
            return state_after(part.read_back_error), set(), absent - leaving
        if leaving & answered:
            return "INCOMPLETE", set(), absent - leaving
        return "SUCCEEDED", leaving, absent - leaving


def state_after(error: str) -> str:
    """Return how a dataset ends whose connector raises ``error``."""
    return "INCOMPLETE" if error == "Incomplete" else "FAILED"
