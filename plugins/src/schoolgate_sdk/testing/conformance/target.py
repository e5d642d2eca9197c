"""What the author of a connector tells the conformance kit: how to start the simulator, and what is waived.

    from schoolgate_sdk.testing.conformance.target import ConformanceTarget, SimulatedMis, without_kind

    @asynccontextmanager
    async def start(world, now):
        async with AcmeSimulator(world, now) as simulator:
            yield SimulatedMis(
                world,
                settings={"base_url": simulator.url, "school": "1"},
                credentials={"api_key": simulator.key},
                fault=simulator.fault,
                clear_faults=simulator.clear_faults,
                struck=simulator.count_struck,
                requests=simulator.count_requests,
            )

    def conformance():
        return ConformanceTarget(
            start=start,
            faults=frozenset({"reset", "status", "rate_limit", "truncate_page"}),
            waivers=(without_kind(KIND_ROOM, reason="Acme keeps no rooms."),),
        )

and ``Connector(…, conformance=conformance)``. No mapping of keys or fields is asked for: the kit compares
what the connector's parsers yield with ``world.canonical()`` by content, references by the content of what
they refer to. What the MIS does not give is said by waivers, each with its reason, which the certificate
repeats. A waiver that nothing needs fails the run, so that none outlives its reason.

Of writes the kit knows ``record_attendance_mark``, ``record_behaviour_event`` and
``record_assessment_result``, with the values of the write-back service: people and subjects are source keys,
a session is ``"AM"`` or ``"PM"``, moments have an offset. The simulator does to the world what the MIS would
do, by ``world.record_mark(…)`` and the like, and the kit counts effects there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.testing.truth import Truth
from schoolgate_sdk.testing.world import World

Clock: TypeAlias = Callable[[], datetime]
"""Tells the time, timezone-aware. A simulator that stamps rows or expires tokens goes by it."""

Shown: TypeAlias = Truth | list[Truth]
"""How a MIS shows an entity: as one, or as several."""

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "slow": "The answer comes after `seconds`, which the connector can bear.",
        "late": "The answer comes after `seconds`, which are more than the connector waits.",
        "cut": "The body ends in its middle, and the connection is closed in order.",
        "reset": "The connection breaks in the middle of the body.",
        "status": "HTTP `status` (500 and the like), with rows in the body that no error may quote.",
        "rate_limit": "HTTP 429, with the header Retry-After: `retry_after` where it is given.",
        "invalid_json": "Text that is cut off, under HTTP 200: JSON, or XML where the MIS speaks that.",
        "success_false": "HTTP 200 that says that it did not succeed.",
        "null_data": "HTTP 200 with null in place of the rows.",
        "truncate_page": "The page has only its first `keep` rows (half of them where it is not given).",
        "duplicate_rows": "Every row of the page comes twice.",
        "padded_rows": "Texts of the page are padded with spaces, ids that are texts among them.",
        "loop_page": "The page comes again in place of every later one.",
        "other_school": "The page is another school's, with rows as that school's would be.",
        "revoke": "The school withdraws `entity`, at once or (with `page`) when that page is asked for.",
        "grant": "The school grants `entity` again.",
        "expire_credentials": "The credentials, good until now, have expired.",
        "mark_change": "Some marks carry a subcode after their code (I01 for I), as since August 2024.",
        "registration_hour": "Answers are slow, and every few requests one is refused with HTTP 429.",
        "error_after_effect": "A write takes effect, and the answer is HTTP 500.",
        "lost_answer": "A write takes effect, and the connection breaks before the answer.",
        "error_before_effect": "A write is answered with HTTP 500 and takes no effect.",
    }
)
"""Every fault that the kit knows, and what the simulator is to do. A check whose fault it cannot make fails,
unless it is waived with the author's reason."""


_AT_ONCE = frozenset({"grant", "expire_credentials", "mark_change"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault that the kit asks the simulator for; it strikes the requests that it matches.

    ``kind`` is one of :data:`FAULTS`; ``entity`` one of the dataset's ``entities`` (``None``: any), ``page``
    the 0-based number of a page of a read (``None``: any), ``times`` how many requests it strikes (``None``:
    all, until the faults are cleared). The others are read by the kinds that name them.
    """

    kind: str
    entity: str | None = None
    page: int | None = None
    times: int | None = 1
    seconds: float | None = None
    status: int | None = None
    retry_after: str | None = None
    keep: int | None = None

    @property
    def is_at_once(self) -> bool:
        """Whether it changes the school or its credentials at once, and strikes no request by itself."""
        return self.kind in _AT_ONCE or (self.kind == "revoke" and self.page is None)

    def as_json(self) -> dict[str, object]:
        """Return what is given: ``kind`` and ``times``, and whatever else is not ``None``."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {**given, "times": self.times}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """Something that is not to be proven, and why. Made by the functions below.

    Attributes:
        reason: one sentence, for the certificate.
        kind: the kind concerned.
        fields: fields that the MIS does not give; empty for the kind as a whole, unless one of the next two.
        hides: tells which entities the MIS does not show.
        shows: returns how the MIS shows an entity, where that is not what the world says of it; or as which
            several.
        check: the id of a check, instead of a kind.
    """

    reason: str
    kind: Kind.ValueType | None = None
    fields: tuple[str, ...] = ()
    hides: Callable[[Truth, World], bool] | None = None
    shows: Callable[[Truth, World], Shown] | None = None
    check: str = ""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a waiver needs a reason: one sentence that the certificate can repeat")

    @property
    def says(self) -> str:
        """What is waived, in a few words."""
        if self.check:
            return self.check
        if self.fields:
            return f"without {', '.join(self.fields)}"
        if self.hides is not None:
            return "some are not shown"
        return "not given" if self.shows is None else "some are shown otherwise"

    @property
    def is_whole_kind(self) -> bool:
        """Whether the MIS does not give the kind at all."""
        return self.kind is not None and not (self.fields or self.hides or self.shows)


def without_kind(kind: Kind.ValueType, *, reason: str) -> Waiver:
    """Say that the MIS, or this connector, does not give ``kind``; references to it are left out as well."""
    return Waiver(reason=reason, kind=kind)


def without_fields(kind: Kind.ValueType, *fields: str, reason: str) -> Waiver:
    """Say that ``fields`` of ``kind`` (fields of the message, references included) are never given.

    Raises:
        ValueError: no field is named.
    """
    if not fields:
        raise ValueError("without_fields needs the names of the fields; without_kind waives a kind")
    return Waiver(reason=reason, kind=kind, fields=fields)


def hidden(kind: Kind.ValueType, when: Callable[[Truth, World], bool], *, reason: str) -> Waiver:
    """Say that the MIS does not show those of ``kind`` for which ``when(truth, world)`` is true."""
    return Waiver(reason=reason, kind=kind, hides=when)


def shown_as(kind: Kind.ValueType, how: Callable[[Truth, World], Shown], *, reason: str) -> Waiver:
    """Say that the MIS shows each of ``kind`` as ``how(truth, world)``: with a value rounded, say.

    ``how`` gets a copy of the message and may change it. It may return a list where the MIS shows several in
    place of one (a contact per pupil, say), each under a ``key`` of its own by which ``refs`` name it.
    """
    return Waiver(reason=reason, kind=kind, shows=how)


def unchecked(check: str, *, reason: str) -> Waiver:
    """Say that one check, by its id, does not apply; ``wire.late``, say, for a fault that cannot be made."""
    return Waiver(reason=reason, check=check)


def _no_fault(fault: Fault) -> None:
    raise NotImplementedError(
        f"SimulatedMis was given no fault=, yet the target says it can make {fault.kind}"
    )


def _nothing() -> None:
    return None


@dataclass(slots=True)
class SimulatedMis:
    """A simulator that serves ``world`` now, and what a school is registered with to be read from it.

    Attributes:
        world: the world that is served. The kit edits it directly, so the simulator has to show the edits at
            once: work from the world at every request, or watch ``world.revision``.
        settings: the connector's settings; what is left out gets its default. Make waits short (milliseconds
            between attempts, two or three attempts, a timeout of about ``timeout``) and pages small (about
            fifty rows), so that there are several of them and the checks are quick.
        credentials: the connector's credentials, as accepted.
        fault: lets the simulator make a fault; only those of ``ConformanceTarget.faults`` are asked for.
        clear_faults: forgets all faults that may still strike. What was revoked stays so.
        struck: ``struck(kind)`` returns how many requests faults of that kind have struck so far. A fault
            that strikes nothing shows nothing, so a check whose fault was never seen to strike fails.
        requests: how many requests have come so far.
        wrong_credentials: what the MIS refuses; by default each credential with an x at its end.
        timeout: seconds after which the connector, with ``settings``, gives up waiting for an answer.
    """

    world: World
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    credentials: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    fault: Callable[[Fault], None] = _no_fault
    clear_faults: Callable[[], None] = _nothing
    struck: Callable[[str], int] | None = None
    requests: Callable[[], int] | None = None
    wrong_credentials: Mapping[str, str] | None = field(repr=False, default=None)
    timeout: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceTarget:
    """What the kit has to know of a connector beside its description.

    Attributes:
        start: ``start(world, now)`` serves ``world`` in this process, on a free port of the loopback address,
            until the block is left. Called for every check, so it must be quick.
        faults: names of :data:`FAULTS` that the simulator can make; a check that needs another one fails,
            unless it is waived.
        waivers: what is not to be proven, and why.
        surface: a name for the way by which the MIS is reached, where there is more than one.
        further: targets for the other ways, each with its own ``surface`` and waivers; certified as well.

    Raises:
        ValueError: a fault is none that the kit knows, or surfaces have no names of their own.
    """

    start: Callable[[World, Clock], AbstractAsyncContextManager[SimulatedMis]]
    faults: frozenset[str] = frozenset()
    waivers: tuple[Waiver, ...] = ()
    surface: str = ""
    further: tuple[ConformanceTarget, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(self.faults - FAULTS.keys())
        if unknown:
            raise ValueError(f"no such fault: {', '.join(unknown)}; there are: {', '.join(FAULTS)}")
        surfaces = [target.surface for target in self.surfaces]
        if len(surfaces) > 1 and (not all(surfaces) or len(set(surfaces)) < len(surfaces)):
            raise ValueError("each of several targets needs a surface= of its own")

    @property
    def surfaces(self) -> tuple[ConformanceTarget, ...]:
        """This target and the further ones."""
        return (self, *self.further)
