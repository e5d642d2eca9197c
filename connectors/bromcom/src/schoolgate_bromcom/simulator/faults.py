"""Faults that are scripted over the control interface and strike the requests that they match."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class FaultKind(enum.Enum):
    """What goes wrong. The comments name the parameters that a kind reads beside those of every fault."""

    TRUNCATE_PAGE = "truncate_page"
    """``keep`` rows are left, by default half; 0 makes the page look like the end."""
    STATUS = "status"
    """HTTP ``status``, by default 500, with a body that no error may quote."""
    INVALID_JSON = "invalid_json"
    """Text that is cut off, under HTTP 200."""
    SUCCESS_FALSE = "success_false"
    NULL_DATA = "null_data"
    SLOW = "slow"
    """The answer comes after ``seconds``, by default 1."""
    RESET = "reset"
    """The connection breaks in the middle of the body."""
    RATE_LIMIT = "rate_limit"
    """HTTP 429; with ``retry_after`` (text of the header) where given."""
    DUPLICATE_ROWS = "duplicate_rows"
    """Every row of the page comes twice."""
    OTHER_SCHOOL = "other_school"
    """The page of another served school."""
    LOOP_PAGE = "loop_page"
    """``page`` comes again in place of every later one."""
    REVOKE = "revoke"
    """The school withdraws the entity: at once, or with ``page`` when that page is asked for."""
    GRANT = "grant"
    """The school grants the entity (again), at once."""


class FaultMalformed(ValueError):
    """A fault's JSON form cannot be understood."""


@dataclass(slots=True)
class Fault:
    """One fault. ``None`` matches everything; ``times`` counts down to 0, ``None`` lasts."""

    kind: FaultKind
    entity: str | None = None
    page: int | None = None
    school: int | None = None
    times: int | None = 1
    keep: int | None = None
    status: int = 500
    seconds: float = 1.0
    retry_after: str | None = None

    @classmethod
    def from_json(cls, given: Mapping[str, object]) -> Fault:
        """Return the fault that ``given`` describes.

        Raises:
            FaultMalformed: a member is unknown, missing or of the wrong type.
        """
        kinds = {kind.value: kind for kind in FaultKind}
        kind = kinds.get(str(given.get("kind")))
        if kind is None:
            raise FaultMalformed(f"kind must be one of {', '.join(kinds)}")
        lasting = kind is FaultKind.LOOP_PAGE
        fault = cls(kind, times=None if lasting else 1)
        for name, value in given.items():
            if name == "kind":
                continue
            expected = _MEMBERS.get(name)
            if expected is None or not isinstance(value, expected) or isinstance(value, bool):
                raise FaultMalformed(f"{name} is unknown or of the wrong type")
            setattr(fault, name, value)
        if lasting and fault.page is None:
            raise FaultMalformed("loop_page needs a page")
        if kind in {FaultKind.REVOKE, FaultKind.GRANT} and fault.entity is None:
            raise FaultMalformed(f"{kind.value} needs an entity")
        return fault

    def matches(self, school: int, entity: str, page: int) -> bool:
        """Say whether the fault strikes this request."""
        later = self.kind is FaultKind.LOOP_PAGE and self.page is not None and page > self.page
        return (
            self.times != 0
            and self.school in {None, school}
            and self.entity in {None, entity}
            and (later or (self.page in {None, page} and self.kind is not FaultKind.LOOP_PAGE))
        )


_MEMBERS: dict[str, tuple[type, ...]] = {
    "entity": (str, type(None)),
    "page": (int, type(None)),
    "school": (int, type(None)),
    "times": (int, type(None)),
    "keep": (int, type(None)),
    "status": (int,),
    "seconds": (int, float),
    "retry_after": (str, type(None)),
}


class FaultScript:
    """The faults that are still to strike, in the order in which they were given."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def pending(self) -> int:
        """Return how many faults may still strike."""
        return len(self._faults)

    def strike(self, school: int, entity: str, page: int) -> Fault | None:
        """Return the first fault that matches, and count it."""
        for fault in self._faults:
            if fault.matches(school, entity, page):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault
        return None
