"""What may be written for one school from one environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from schoolgate.v1 import writeback_service_pb2 as pb

LETS_THROUGH = frozenset({pb.WRITE_POLICY_ON, pb.WRITE_POLICY_APPROVAL})
"""Under which something is written, if only once somebody has approved it."""


class OperationRule(NamedTuple):
    """What may be done with writes of one operation.

    ``daily_quota`` is the most writes that are accepted within 24 hours, 0 for no limit. ``set_by`` and
    ``set_at`` say who set it and when; empty and ``None`` where nobody did. ``cancels_before`` is when what
    was queued was cancelled last: what was submitted until then, and was just being sent, is not sent later.
    """

    policy: pb.WritePolicy.ValueType = pb.WRITE_POLICY_OFF
    daily_quota: int = 0
    set_by: str = ""
    set_at: datetime | None = None
    cancels_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules of one school in one environment, by the name of the operation; what is not named is OFF."""

    rules: Mapping[str, OperationRule] = field(default_factory=dict[str, OperationRule])

    def of(self, operation: str) -> OperationRule:
        """Return what holds for ``operation``: nothing may be sent where nobody has said otherwise."""
        return self.rules.get(operation, OperationRule())
