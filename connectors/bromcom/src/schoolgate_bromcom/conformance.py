"""What the conformance kit has to know of this connector: its simulator, and what Bromcom does not show."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from typing import Final, TypeAlias

from aiohttp import web

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate.v1.people_pb2 import Contact, StudentContact
from schoolgate_bromcom.simulator.command import build_application
from schoolgate_bromcom.simulator.effects import SchoolAccount, set_grant
from schoolgate_bromcom.simulator.entities import ENTITIES
from schoolgate_bromcom.simulator.faults import Fault as SimulatorFault
from schoolgate_bromcom.simulator.faults import FaultKind
from schoolgate_bromcom.simulator.record_rows import RESULT_SETTINGS, SETTINGS
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_bromcom.simulator.soap_service import PATH
from schoolgate_bromcom.simulator.soap_writes import WRITE_PATH
from schoolgate_bromcom.surfaces import Surface
from schoolgate_sdk.testing.conformance.target import (
    Clock,
    ConformanceTarget,
    Fault,
    SimulatedMis,
    Waiver,
    hidden,
    shown_as,
    unchecked,
    without_fields,
    without_kind,
)
from schoolgate_sdk.testing.truth import Truth, TruthRef
from schoolgate_sdk.testing.world import World

_SCHOOL: Final = 20001
_OTHER_SCHOOL: Final = 20002
_PAGE: Final = 50
_TIMEOUT: Final = 0.5
"""Seconds."""
_APPLICATION: Final = {"application_id": "kit-application", "application_secret": "kit-secret"}
_ACCOUNT: Final = {"soap_username": "kit-reader", "soap_password": "kit-password"}
_POSITIONS: Final = 3

_FAULTS: Final = frozenset(
    {
        *("slow", "late", "cut", "reset", "status", "rate_limit", "invalid_json", "success_false"),
        *("null_data", "truncate_page", "duplicate_rows", "padded_rows", "other_school", "revoke", "grant"),
        *("mark_change", "registration_hour", "expire_credentials"),
    }
)
"""What the simulator can do on both surfaces.

Credentials that have expired are refused as wrong ones are: the Partner API takes an id and a secret with
every call and exchanges no token, the SOAP services take a user name and a password, and nothing public tells
the one from the other.
"""

_Start: TypeAlias = Callable[[World, Clock], AbstractAsyncContextManager[SimulatedMis]]


def conformance() -> ConformanceTarget:
    """Return the target for the Partner API, and with it the one for the SOAP services."""
    soap = ConformanceTarget(
        start=_starting(Surface.SOAP),
        surface=Surface.SOAP.value,
        faults=(_FAULTS - {"truncate_page"}) | _OF_WRITES,
        waivers=(
            *_WAIVERS,
            unchecked("wire.truncate_page", reason=_NO_COUNT),
            unchecked("reading.memory", reason=_BUFFERS),
            *_unwritten("record_behaviour_event", _PARTNER_WRITES),
            unchecked("reading.resume", reason=_NO_PAGES),
            unchecked("wire.loop_page", reason=_NO_PAGES),
            unchecked("grants.revoked_mid_read", reason=_ONE_ANSWER),
        ),
    )
    return ConformanceTarget(
        start=_starting(Surface.PARTNER),
        surface=Surface.PARTNER.value,
        faults=_FAULTS | _OF_WRITES | {"loop_page"},
        waivers=(*_WAIVERS, *_unwritten("record_assessment_result", _SOAP_WRITES)),
        further=(soap,),
    )


def _unwritten(operation: str, reason: str) -> tuple[Waiver, ...]:
    return tuple(unchecked(f"write.{operation}.{name}", reason=reason) for name in _WRITE_CHECKS)


_OF_WRITES: Final = frozenset({"error_before_effect", "error_after_effect", "lost_answer"})
_PARTNER_WRITES: Final = "Behaviour events are written over the Partner API."
_SOAP_WRITES: Final = "Assessment results are written over the SOAP services."
_NO_PAGES: Final = "The SOAP services give an entity in one answer: there is nothing to go on from."
_ONE_ANSWER: Final = "The SOAP services give an entity in one answer: there is no later page to be refused."
_NO_COUNT: Final = (
    "A whole document that lacks rows looks like one of a smaller school, and nothing public counts rows "
    "over SOAP; one that is cut short is told."
)
_NO_MARKER: Final = (
    "Nothing public in a row says whose it is, so another school's page looks like one of this school's; "
    "what it changes or removes is held by the server where it is much."
)
_BUFFERS: Final = (
    "An answer of the kit's school fits into the network's buffers; what is held of a long one is bounded by "
    "the connector's own tests."
)
_WRITE_CHECKS: Final = ("effect", "lost_answer", "no_effect", "twice", "announced", "stopped")


def _starting(surface: Surface) -> _Start:
    @asynccontextmanager
    async def start(world: World, _now: Clock) -> AsyncGenerator[SimulatedMis]:
        other = World.build(world.seed + 1, 12, marks_until=date(2026, 9, 19))
        schools = {
            number: SimulatedSchool(number, served, page_size=_PAGE)
            for number, served in ((_SCHOOL, world), (_OTHER_SCHOOL, other))
        }
        accounts = {
            number: SchoolAccount(_ACCOUNT["soap_username"], _ACCOUNT["soap_password"], set(ENTITIES))
            for number in schools
        }
        api = PartnerApi(
            schools, _APPLICATION["application_id"], _APPLICATION["application_secret"], accounts
        )
        runner = web.AppRunner(build_application(api), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield _mis(api, f"http://127.0.0.1:{runner.addresses[0][1]}", surface)
        finally:
            await runner.cleanup()

    return start


def _mis(api: PartnerApi, url: str, surface: Surface) -> SimulatedMis:
    school = api.schools[_SCHOOL]
    scripted: list[SimulatorFault] = []

    def fault(given: Fault) -> None:
        made = SimulatorFault.from_json({**given.as_json(), "school": _SCHOOL})
        if surface is Surface.SOAP:
            made.page = None  # there is one answer, and no second page
        if made.kind is FaultKind.GRANT or (made.kind is FaultKind.REVOKE and given.page is None):
            set_grant(made, school, api.accounts.get(_SCHOOL))
        elif made.kind is FaultKind.MARK_CHANGE:
            school.change_marks()
        elif made.kind is FaultKind.EXPIRE_CREDENTIALS:
            api.expire(made)
        else:
            scripted.append(made)
            api.faults.add(made)

    def requests() -> int:
        counted = api.log.as_json()["requests"]
        assert isinstance(counted, int)
        return counted

    return SimulatedMis(
        school.world,
        settings={
            **SETTINGS,
            **RESULT_SETTINGS,
            "surface": surface.value,
            "surface_fallback": "no",
            "base_url": f"{url}/v2",
            "soap_url": f"{url}{PATH}",
            "soap_write_url": f"{url}{WRITE_PATH}",
            "school_number": str(_SCHOOL),
            "page_size": str(_PAGE),
            "request_timeout_seconds": str(_TIMEOUT),
            "soap_timeout_seconds": str(_TIMEOUT),
            "read_attempts": "3",
            "retry_wait_seconds": "0.01",
        },
        credentials=_APPLICATION if surface is Surface.PARTNER else _ACCOUNT,
        fault=fault,
        clear_faults=api.forget_faults,
        struck=lambda kind: sum(made.struck for made in scripted if made.kind.value == kind),
        requests=requests,
        timeout=_TIMEOUT,
    )


# --- what Bromcom shows otherwise than the world has it ------------------------------------------------


def _has_left(truth: Truth, world: World) -> bool:
    pupil = truth.key[0]
    return not any(
        held.pupil == pupil and (held.valid_to is None or held.valid_to > world.today)
        for held in world.enrolments.values()
    )


def _has_ended(truth: Truth, world: World) -> bool:
    end = str(getattr(truth.message, "valid_to", ""))
    return bool(end) and end <= world.today.isoformat()


def _is_no_behaviour_type(truth: Truth, _world: World) -> bool:
    return truth.key[0] != "behaviour_type"


def _positions(world: World) -> dict[tuple[int, int], int]:
    """Return the position, from 1, of each (pupil, contact) that ``StudentFlatView`` has columns for."""
    by_pupil: dict[int, list[tuple[bool, int, int]]] = {}
    for link in world.contact_links.values():
        order = (link.priority is None, link.priority or 0, link.contact)
        by_pupil.setdefault(link.pupil, []).append(order)
    on_roll = {
        held.pupil
        for held in world.enrolments.values()
        if held.valid_to is None or held.valid_to > world.today
    }
    return {
        (pupil, contact): position
        for pupil, orders in by_pupil.items()
        if pupil in on_roll and pupil not in world.withheld
        for position, (_, _, contact) in enumerate(sorted(orders)[:_POSITIONS], start=1)
    }


def _contact(truth: Truth, world: World) -> list[Truth]:
    number = truth.key[0]
    known = world.contacts[int(number)]
    names = (known.title, known.forename, known.surname)
    message = Contact(
        full_name=" ".join(name for name in names if name), telephone=known.telephone, email=known.email
    )
    return [
        Truth(truth.kind, (pupil, position), message)
        for (pupil, contact), position in _positions(world).items()
        if contact == number
    ]


def _student_contact(truth: Truth, world: World) -> list[Truth]:
    pupil, contact = (int(part) for part in truth.key)
    position = _positions(world).get((pupil, contact))
    if position is None:
        return []
    link = world.contact_links[pupil, contact]
    message = StudentContact(
        relationship_code=link.relationship_code, parental_responsibility=link.parental_responsibility
    )
    refs = tuple(
        ref._replace(key=(pupil, position)) if ref.kind == k.KIND_CONTACT else ref for ref in truth.refs
    )
    return [Truth(truth.kind, (pupil, position), message, refs)]


def _result(truth: Truth, world: World) -> Truth:
    refs: list[TruthRef] = []
    for ref in truth.refs:
        if ref.kind != k.KIND_SUBJECT:
            refs.append(ref)
        elif isinstance(truth.message, AssessmentResult):
            truth.message.subject_name = world.subjects[str(ref.key[0])].name
    return truth._replace(refs=tuple(refs))


_NO_COLUMN: Final = "No public field list has a column for it."
_LEFT: Final = (
    "Whether StudentFlatView shows who has left is not public: it has enrolmentEndDate, and rows with one "
    "are read, but no public row shows a date that has passed. StudentEnrolments is known by its name alone. "
    "The simulator shows no leavers, as the worse case, so nothing is proven of them."
)

_WAIVERS: Final[tuple[Waiver, ...]] = (
    without_kind(k.KIND_SCHOOL, reason="No public source shows the columns of the entity Schools."),
    without_kind(k.KIND_ACADEMIC_YEAR, reason="No public source shows an entity of academic years."),
    without_kind(k.KIND_ATTENDANCE_CODE, reason="No public source shows the columns of the entity Marks."),
    without_fields(k.KIND_STUDENT, "uln", "middle_names", "national_curriculum_year", reason=_NO_COLUMN),
    without_fields(k.KIND_STAFF, "middle_names", reason=_NO_COLUMN),
    without_fields(k.KIND_GROUP, "subject_id", reason=_NO_COLUMN),
    without_fields(k.KIND_STAFF_ASSIGNMENT, "valid_from", reason=_NO_COLUMN),
    without_fields(k.KIND_TIMETABLE_ENTRY, "subject_id", reason=_NO_COLUMN),
    without_fields(k.KIND_ADMISSION, "admitted_on", "left_on", reason=_NO_COLUMN),
    without_fields(k.KIND_LOCAL_CODE, "active", reason=_NO_COLUMN),
    without_fields(
        k.KIND_BEHAVIOUR_EVENT,
        "type_name",
        reason="Events have the type's number, and a local code its name.",
    ),
    hidden(
        k.KIND_LOCAL_CODE,
        _is_no_behaviour_type,
        reason="Year groups and houses are texts on pupils and groups; no public entity lists them.",
    ),
    hidden(k.KIND_STUDENT, _has_left, reason=_LEFT),
    hidden(k.KIND_ADMISSION, _has_left, reason=_LEFT),
    hidden(k.KIND_ENROLMENT, _has_ended, reason=_LEFT),
    shown_as(
        k.KIND_CONTACT,
        _contact,
        reason="StudentFlatView has three contacts a pupil, without ids and with one text for the name.",
    ),
    shown_as(
        k.KIND_STUDENT_CONTACT,
        _student_contact,
        reason="StudentFlatView has relationship and parental responsibility of three contacts a pupil.",
    ),
    shown_as(
        k.KIND_ASSESSMENT_RESULT,
        _result,
        reason="AssociationAssessmentResultsRaw names the subject by its name, which is no key.",
    ),
    unchecked("wire.other_school", reason=_NO_MARKER),
)
