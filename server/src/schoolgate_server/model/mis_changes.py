"""Plans for a change of MIS, as the store keeps them, and when one must not be applied any more."""

from __future__ import annotations

from typing import NamedTuple

from schoolgate.v1.identity_service_pb2 import MisChangePlan


class StoredPlan(NamedTuple):
    """The school's plan. ``sealed`` is the settings and credentials of the other MIS, as they were sealed.

    ``begun`` says that somebody began to apply it, ``applied`` that the school is at the other MIS.
    """

    plan: MisChangePlan
    sealed: bytes
    begun: bool
    applied: bool


def staleness(planned: StoredPlan, digest: str, published: int) -> str | None:
    """Return why the plan with ``digest`` must not be applied at seq ``published``; ``None`` if it may."""
    if planned.plan.digest != digest:
        return "the digest is not that of the school's latest plan"
    if planned.applied:
        return "the plan has been applied"
    if not planned.begun and planned.plan.seq != published:
        return "the school's records have changed since the plan was made"
    return None
