"""How a dataset must end, and which records leave with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from schoolgate.v1.sync_service_pb2 import Hold
from tests.simulation.base import (
    COUNT,
    FRACTION,
    STRANGE_ABOVE,
    DatasetFacts,
    Documents,
    Version,
    live_of,
    require,
)
from tests.simulation.meaning import Key, Meaning
from tests.simulation.people import Settled


@dataclass
class Expected:
    """What one run must come to in one dataset: its state, the records that leave, and those that came."""

    state: str
    gone: set[Key] = field(default_factory=set[Key])
    seen: set[Key] = field(default_factory=set[Key])
    settled: Settled | None = None


class Judge:
    """Decides about absences. Keeps what is held, and what an operator approved of it."""

    def __init__(self) -> None:
        self._held: dict[str, dict[Key, int]] = {}
        self._approved: dict[str, dict[Key, int]] = {}
        self._applied: set[str] = set()

    def approve(self, dataset: str) -> None:
        """Take note that an operator approved what is held: these deletions of these versions."""
        self._approved[dataset] = self._held[dataset]

    def conclude(self, part: DatasetFacts) -> None:
        """Take note that a snapshot was sealed, or was not for nothing but what the run itself had written.

        What a whole one did not find doubtful is held no more. One of some days knows nothing of other days:
        it only takes away what an operator approved and it applied.
        """
        if part.days is None or part.dataset in self._applied:
            self._held.pop(part.dataset, None)
            self._approved.pop(part.dataset, None)

    def verify(self, after: Documents) -> None:
        """G02: check that what waits for an operator is what looked wrong, and nothing else."""
        waiting = {
            document["dataset"]: (Hold.FromString(document["wire"]).tombstones, "approved" in document)
            for document in after.get("holds", {}).values()
        }
        expected = {
            name: (sum(map(bool, held.values())), name in self._approved) for name, held in self._held.items()
        }
        require(waiting == expected, "G02", f"{waiting} wait for an operator, not {expected}")

    def judge_changes(
        self,
        part: DatasetFacts,
        leaving: set[Key],
        live: set[Key],
        lives: Mapping[Key, Sequence[Version]],
        runs: frozenset[str],
    ) -> tuple[str, set[Key]]:
        """Return how a read of changes must end, and which records leave of those that the MIS has no more.

        ``live`` are the live records of the dataset when it is decided.
        """
        if leaving and part.read_back_error:
            return state_after(part.read_back_error), set()
        own = {key for key in leaving if any(each.run in runs and each.live for each in lives[key])}
        gone = leaving - own
        if gone and (gone == live or (len(gone) > COUNT and len(gone) > FRACTION * len(live))):
            self._held[part.dataset] = {key: len(lives[key]) for key in gone}
            return "HELD", set()
        return ("INCOMPLETE" if own else "SUCCEEDED"), gone

    def judge_broken_off(
        self,
        part: DatasetFacts,
        leaving: set[Key],
        before: Mapping[Key, Sequence[Version]],
        lives: Mapping[Key, Sequence[Version]],
        runs: frozenset[str],
    ) -> None:
        """Take note of what is held of a read of changes of which not all is known.

        What came before it was broken off is judged as if it were all, and then how it broke off is told.
        """
        if part.asked is not None and part.state in {"HELD", "SKIPPED"}:
            self.judge_changes(part, leaving, live_of(before, part.dataset), lives, runs)

    @property
    def held(self) -> frozenset[str]:
        """The datasets of which something waits for an operator."""
        return frozenset(self._held)

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
        counts all, with those that came. What is withheld is part of what is held.
        """

        self._applied.discard(part.dataset)
        if part.expected:
            [state] = part.expected
            return state, set(), set()
        if any(meaning.key is None for meaning in meanings):
            return "INCOMPLETE", set(), set()
        doubtful = len(absent) == total or (len(absent) > COUNT and len(absent) > FRACTION * total)
        if part.withheld or (absent and doubtful):
            held = {key: sum(each.live or each.run not in runs for each in lives[key]) for key in absent}
            held |= dict.fromkeys(part.withheld, 0)
            if self._approved.get(part.dataset) != held:
                if part.days is None or self._held.get(part.dataset, held) == held:
                    self._held[part.dataset] = held
                    self._approved.pop(part.dataset, None)
                return "HELD", set(), set()
            self._applied.add(part.dataset)
        # What the run itself wrote from a row is left to the next one (G06).
        leaving = absent - written(lives, part.dataset, runs)
        if leaving and part.read_back_error:
            return state_after(part.read_back_error), set(), absent - leaving
        if leaving & answered:
            return "INCOMPLETE", set(), absent - leaving
        if left := absent - leaving:
            self.conclude(part)  # all the same, for the rest was decided
        return ("INCOMPLETE" if left else "SUCCEEDED"), leaving, left


def strangers(seen: set[Key], live: set[Key], known: Collection[Key]) -> set[Key]:
    """Return the records that are kept back of a snapshot which has ``seen``, and none of those ``live``.

    ``known`` are all that were ever stored; where nobody is new, those that came back are no strangers.
    """
    is_strange = len(live) > STRANGE_ABOVE and not seen & live and not seen <= set(known)
    return seen if is_strange else set()


def written(lives: Mapping[Key, Sequence[Version]], dataset: str, runs: frozenset[str]) -> set[Key]:
    """Return the records of ``dataset`` that one of ``runs`` wrote from a row."""
    return {
        key
        for key, life in lives.items()
        if key[0] == dataset
        and any(each.run in runs and each.live and each.cause == "SOURCE" for each in life)
    }


def state_after(error: str) -> str:
    """Return how a dataset ends whose connector raises ``error``."""
    return "INCOMPLETE" if error == "Incomplete" else "FAILED"
