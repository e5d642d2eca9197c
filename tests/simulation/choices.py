"""Which of several rows of one record counts: whatever is merged meanwhile, always the same one (G03)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.simulation.base import require
from tests.simulation.meaning import Key, Meaning


class Choices:
    """What was chosen so far, told by what rows say."""

    def __init__(self) -> None:
        self._winners: dict[tuple[Key, frozenset[str]], set[str]] = {}

    def verify(self, key: Key, rows: Iterable[Meaning], chosen: Iterable[Meaning]) -> None:
        """Check that of ``rows`` one of ``chosen``, which say what the record is, was chosen before, too."""
        said = set(map(_said, chosen))
        winners = self._winners.setdefault((key, frozenset(map(_said, rows))), set(said))
        winners &= said
        require(winners, "G03", f"{key}: another row won")


def _said(meaning: Meaning) -> str:
    """Return what a row says, whoever its keys are."""
    return json.dumps((meaning.key, meaning.body, meaning.refs, meaning.person), sort_keys=True)
