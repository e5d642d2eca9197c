"""Faults that are scripted over the control interface and strike the requests that they match."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Surface: TypeAlias = Literal["partner", "soap"]
"""The Partner API, or the SOAP services."""

SURFACES: Final[tuple[Surface, ...]] = ("partner", "soap")


class FaultKind(enum.Enum):
    """What goes wrong. The comments name the parameters that a kind reads beside those of every fault."""

    TRUNCATE_PAGE = "truncate_page"
    """``keep`` rows are left, by default half; 0 makes the page look like the end."""
    STATUS = "status"
    """HTTP ``status``, by default 500, with a body that no error may quote."""
    INVALID_JSON = "invalid_json"
    """Text that is cut off, under HTTP 200; XML over SOAP."""
    SUCCESS_FALSE = "success_false"
    """``success: false`` under HTTP 200; over SOAP a fault of the server under HTTP 500."""
    NULL_DATA = "null_data"
    """``data: null``; over SOAP no result."""
    SLOW = "slow"
    """The answer comes after ``seconds``, by default 1."""
    LATE = "late"
    """The same with more seconds, by default 30: after the client gave up."""
    CUT = "cut"
    """The body ends in its middle, and the connection is closed in order."""
    RESET = "reset"
    """The connection breaks in the middle of the body."""
    RATE_LIMIT = "rate_limit"
    """HTTP 429; with ``retry_after`` (text of the header) where given."""
    DUPLICATE_ROWS = "duplicate_rows"
    """Every row of the page comes twice."""
    PADDED_ROWS = "padded_rows"
    """Every text of the page is padded with spaces."""
    OTHER_SCHOOL = "other_school"
    """The page of another served school."""
    LOOP_PAGE = "loop_page"
    """``page`` comes again in place of every later one; SOAP has no pages."""
    REVOKE = "revoke"
    """The school withdraws the entity: at once, or with ``page`` when that page is asked for."""
    GRANT = "grant"
    """The school grants the entity (again), at once."""
    EDIT_MID_READ = "edit_mid_read"
    """The school is edited by ``edit``, which has the form of the control interface, when the page is asked
    for; over SOAP when half of the answer is sent."""
    CONSENT_WITHDRAWN = "consent_withdrawn"
    """The consent for ``pupil`` is withdrawn when the page is asked for."""
    MARK_CHANGE = "mark_change"
    """From the request on marks have subcodes of the school's own, as since August 2024."""
    REGISTRATION_HOUR = "registration_hour"
    """Answers take ``seconds``, by default 0.2, and every third request is refused with HTTP 429."""
    EXPIRE_CREDENTIALS = "expire_credentials"
    """Credentials that were good are refused as wrong ones are, at once and until faults are forgotten. How
    Bromcom would tell the one from the other is not public."""
    ENTITY_BOMB = "entity_bomb"
    """SOAP only: a document type whose entities would expand to a thousand million characters."""
    DOCUMENT_TYPE = "document_type"
    """SOAP only: a document type that refers to a file and to another server."""
    ERROR_BEFORE_EFFECT = "error_before_effect"
    """Writes only: HTTP 500, and nothing happened."""
    ERROR_AFTER_EFFECT = "error_after_effect"
    """Writes only: HTTP 500, and it happened."""
    FALSE_AFTER_EFFECT = "false_after_effect"
    """Writes only: ``success: false`` under HTTP 200, and it happened."""
    LOST_ANSWER = "lost_answer"
    """Writes only: it happened, and the connection breaks before the answer."""
    DUPLICATE_EFFECT = "duplicate_effect"
    """Writes only: it happened twice, as when something on the way sends a request again."""


class FaultMalformed(ValueError):
    """A fault's JSON form cannot be understood."""


@dataclass(slots=True)
class Fault:
    """One fault. ``None`` matches everything; ``times`` counts down to 0, ``None`` lasts.

    ``struck`` counts the requests that it has struck.
    """

    kind: FaultKind
    entity: str | None = None
    page: int | None = None
    school: int | None = None
    surface: str | None = None
    times: int | None = 1
    keep: int | None = None
    status: int = 500
    seconds: float = 1.0
    retry_after: str | None = None
    edit: dict[str, object] | None = None
    pupil: int | None = None
    struck: int = 0

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
        fault = cls(kind, times=None if kind in _LASTING else 1, seconds=_SECONDS.get(kind, 1.0))
        for name, value in given.items():
            if name == "kind":
                continue
            expected = _MEMBERS.get(name)
            if expected is None or not isinstance(value, expected) or isinstance(value, bool):
                raise FaultMalformed(f"{name} is unknown or of the wrong type")
            setattr(fault, name, value)
        if fault.surface not in {None, *SURFACES}:
            raise FaultMalformed(f"surface must be one of {', '.join(SURFACES)}")
        needed = _NEEDED.get(kind)
        if needed is not None and getattr(fault, needed) is None:
            raise FaultMalformed(f"{kind.value} needs a member {needed}")
        return fault

    def matches(self, surface: Surface, school: int, entity: str, page: int, *, write: bool = False) -> bool:
        """Say whether the fault strikes this request, a read unless it is a ``write``."""
        later = self.kind is FaultKind.LOOP_PAGE and self.page is not None and page > self.page
        return (
            self.times != 0
            and write == (self.kind in _OF_WRITES)
            and self.surface in {None, surface}
            and surface in _ONLY_ON.get(self.kind, SURFACES)
            and self.school in {None, school}
            and self.entity in {None, entity}
            and (later or (self.page in {None, page} and self.kind is not FaultKind.LOOP_PAGE))
        )


_OF_WRITES: Final = frozenset(
    {
        FaultKind.ERROR_BEFORE_EFFECT,
        FaultKind.ERROR_AFTER_EFFECT,
        FaultKind.FALSE_AFTER_EFFECT,
        FaultKind.LOST_ANSWER,
        FaultKind.DUPLICATE_EFFECT,
    }
)
_LASTING: Final = frozenset({FaultKind.LOOP_PAGE, FaultKind.REGISTRATION_HOUR})
_SECONDS: Final = {FaultKind.LATE: 30.0, FaultKind.REGISTRATION_HOUR: 0.2}
_NEEDED: Final = {
    FaultKind.LOOP_PAGE: "page",
    FaultKind.REVOKE: "entity",
    FaultKind.GRANT: "entity",
    FaultKind.EDIT_MID_READ: "edit",
    FaultKind.CONSENT_WITHDRAWN: "pupil",
}
_ONLY_ON: Final[Mapping[FaultKind, tuple[Surface, ...]]] = {
    FaultKind.LOOP_PAGE: ("partner",),
    FaultKind.ENTITY_BOMB: ("soap",),
    FaultKind.DOCUMENT_TYPE: ("soap",),
}
_MEMBERS: dict[str, tuple[type, ...]] = {
    "entity": (str, type(None)),
    "page": (int, type(None)),
    "school": (int, type(None)),
    "surface": (str, type(None)),
    "times": (int, type(None)),
    "keep": (int, type(None)),
    "status": (int,),
    "seconds": (int, float),
    "retry_after": (str, type(None)),
    "edit": (dict,),
    "pupil": (int,),
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

    def strike(
        self, surface: Surface, school: int, entity: str, page: int, *, write: bool = False
    ) -> Fault | None:
        """Return the first fault that matches, and count it."""
        for fault in self._faults:
            if fault.matches(surface, school, entity, page, write=write):
                fault.struck += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault
        return None
