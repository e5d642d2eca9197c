"""Faults that only this simulator makes, beside those of the SDK's server of simulators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

KINDS: Final = frozenset(
    {"null_data", "other_school", "edit_mid_read", "consent_withdrawn", "expire_credentials"}
)


class Scripted:
    """Faults in order; each strikes the pages that it matches, ``times`` times (``None``: always).

    ``struck`` counts the pages that each kind has struck.
    """

    def __init__(self) -> None:
        self._faults: list[dict[str, Any]] = []
        self.struck: Counter[str] = Counter()

    def add(self, fault: Mapping[str, Any]) -> None:
        """Add one: ``kind``, and ``entity``, ``page`` (from 0), ``times``, ``edit``, ``pupil``."""
        self._faults.append({"times": 1, **fault})

    def clear(self) -> None:
        """Forget those that may still strike."""
        self._faults.clear()

    def strike(self, resource: str, page: int) -> dict[str, Any] | None:
        """Return the fault that strikes a page, with its ``resource``."""
        for fault in self._faults:
            if fault.get("entity") in {None, resource} and fault.get("page") in {None, page}:
                if fault["times"] is not None:
                    fault["times"] -= 1
                    if not fault["times"]:
                        self._faults.remove(fault)
                self.struck[fault["kind"]] += 1
                return {**fault, "resource": resource}
        return None
