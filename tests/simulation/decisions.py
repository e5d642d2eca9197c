"""G09: whatever was not taken over as it came has a decision that says why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.simulation.base import Documents, require
from tests.simulation.meaning import Key, Meaning, key_of


class Decisions:
    """The decisions about one dataset, as the store has them."""

    def __init__(self, dataset: str, after: Documents) -> None:
        self._dataset = dataset
        documents = [one for one in after["decisions"].values() if one["dataset"] == dataset]
        self._decided = {(_reason(one), one["field"]) for one in documents}
        self._reasons = {reason for reason, _ in self._decided}
        self._by_key = {
            (_reason(one), key_of(dataset, one["parts"])) for one in documents if one["parts"] is not None
        }

    def verify(
        self,
        meanings: Sequence[Meaning],
        candidates: Mapping[Key, Sequence[Meaning]],
        bodies: Mapping[Key, Sequence[Mapping[str, Any]]],
    ) -> None:
        """Check that each of ``meanings`` that was not taken over has one.

        ``candidates`` are the meanings by record, ``bodies`` what each of them makes of its record.
        """
        for meaning in meanings:
            if meaning.reason:
                keyed = meaning.key is not None and (meaning.reason, meaning.key) in self._by_key
                known = keyed or (meaning.key is None and meaning.reason in self._reasons)
                require(known, "G09", f"no decision about {meaning}")
        for record, several in candidates.items():
            self._verify_several(record, several, bodies[record])
            for meaning, body in zip(several, bodies[record], strict=True):
                self._verify_parts(meaning, body)

    def expect(self, reason: str, meaning: Meaning) -> None:
        assert meaning.key is not None
        require((reason, meaning.key) in self._by_key, "G09", f"no decision {reason} about {meaning.key}")

    def _verify_several(
        self, record: Key, several: Sequence[Meaning], bodies: Sequence[Mapping[str, Any]]
    ) -> None:
        if len(several) < 2:
            return
        # Person numbers count as rows have them: a merge gives the record all of them, and rows still differ.
        said = zip(bodies, several, strict=True)
        texts = {json.dumps((body, meaning.person), sort_keys=True) for body, meaning in said}
        reason = "DUPLICATE_ROW" if len(texts) == 1 else "CONFLICTING_ROW"
        # One about a conflict names the record: its rows may be under several keys, and come in any order.
        keys = {record} if reason == "CONFLICTING_ROW" else {meaning.key for meaning in several}
        known = any((reason, key) in self._by_key for key in keys)
        require(known, "G09", f"no decision {reason} about {record}")

    def _verify_parts(self, meaning: Meaning, body: Mapping[str, Any]) -> None:
        if self._dataset == "memberships" and "student_id" not in body:
            self.expect("REFERENCE_UNRESOLVED", meaning)
        if self._dataset == "marks" and "meaning" not in body:
            known = ("CODE_UNMAPPED", "attendance_mark.code") in self._decided
            require(known, "G09", f"no decision about the code of {meaning.key}")


def _reason(document: Mapping[str, Any]) -> str:
    return str(document["reason"]).removeprefix("DECISION_REASON_")
