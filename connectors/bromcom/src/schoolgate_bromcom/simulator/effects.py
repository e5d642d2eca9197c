"""What a fault does to the simulated schools, whichever surface it struck."""

from __future__ import annotations

from dataclasses import dataclass, field

from schoolgate_bromcom.simulator.entities import ENTITIES
from schoolgate_bromcom.simulator.faults import Fault, FaultKind
from schoolgate_bromcom.simulator.school import SimulatedSchool


@dataclass(slots=True)
class SchoolAccount:
    """The account that a school keeps for third parties at the SOAP services, and what it may read.

    No entity is ticked to begin with.
    """

    username: str
    password: str = field(repr=False)
    granted: set[str] = field(default_factory=set[str])


def set_grant(fault: Fault, school: SimulatedSchool, account: SchoolAccount | None) -> None:
    """Grant or withdraw the fault's entity, on its surface or on both."""
    places = [school.granted] if fault.surface in {None, "partner"} else []
    if account is not None and fault.surface in {None, "soap"}:
        places.append(account.granted)
    for granted in places:
        if fault.entity is None or fault.entity not in ENTITIES:
            continue
        if fault.kind is FaultKind.GRANT:
            granted.add(fault.entity)
        else:
            granted.discard(fault.entity)


def apply_effect(fault: Fault, school: SimulatedSchool, account: SchoolAccount | None) -> None:
    """Change the school as the fault says; most faults change nothing but the answer.

    Raises:
        WorldError: the fault's edit cannot be made.
    """
    match fault.kind:
        case FaultKind.REVOKE:
            set_grant(fault, school, account)
        case FaultKind.EDIT_MID_READ:
            school.apply(fault.edit or {})
        case FaultKind.CONSENT_WITHDRAWN:
            school.apply({"op": "withdraw_consent", "pupil": fault.pupil})
        case FaultKind.MARK_CHANGE:
            school.change_marks()
        case _:
            return
