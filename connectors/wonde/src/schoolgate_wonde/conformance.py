"""What the conformance kit has to know of this connector: its simulator, and what Wonde does not show."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Final

from aiohttp import web

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.timetable_pb2 import TimetableEntry
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
from schoolgate_sdk.testing.serving import FAULTS, WRITE_FAULTS
from schoolgate_sdk.testing.truth import Truth
from schoolgate_sdk.testing.world import World
from schoolgate_wonde.simulator.command import FIRST_SCHOOL, build_application
from schoolgate_wonde.simulator.control import Control
from schoolgate_wonde.simulator.entities import lesson_days, shown_pupils
from schoolgate_wonde.simulator.school import SimulatedSchool
from schoolgate_wonde.simulator.scripted import KINDS
from schoolgate_wonde.simulator.service import WondeApi

_SCHOOL: Final = f"A{FIRST_SCHOOL}"
_OTHER_SCHOOL: Final = f"A{FIRST_SCHOOL + 1}"
_TOKEN: Final = "kit-token-of-wonde"  # noqa: S105 - the simulator's
_TIMEOUT: Final = 0.5
"""Seconds."""
_SETTLES: Final = 0.5
"""Seconds. Writes take effect at once: the kit looks at the world as soon as an answer is lost."""

_FAULTS: Final = FAULTS | WRITE_FAULTS | {"null_data", "other_school", "expire_credentials"}
"""A token that has expired is refused as a wrong one is: public sources know a bearer token, and approvals
that are pending, declined or revoked, and no token or approval that expires, nor how that would be said.
"""


def conformance() -> ConformanceTarget:
    """Return the target."""
    return ConformanceTarget(start=_start, faults=_FAULTS, waivers=_WAIVERS)


@asynccontextmanager
async def _start(world: World, now: Clock) -> AsyncGenerator[SimulatedMis]:
    other = World.build(world.seed + 1, 12, marks_until=date(2026, 9, 19))
    schools = {
        name: SimulatedSchool(name, served, now)
        for name, served in ((_SCHOOL, world), (_OTHER_SCHOOL, other))
    }
    api = WondeApi(schools, _TOKEN)
    runner = web.AppRunner(build_application(api), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield _mis(api, f"http://127.0.0.1:{runner.addresses[0][1]}/v1.0")
    finally:
        await runner.cleanup()


def _mis(api: WondeApi, url: str) -> SimulatedMis:
    control, school = Control(api), api.schools[_SCHOOL]

    def fault(given: Fault) -> None:
        if given.kind in KINDS:
            made = given.as_json()
            control.make_fault(school, {name: made[name] for name in made if name != "status"})
        else:
            school.server.fault(given)

    return SimulatedMis(
        school.world,
        settings={
            "base_url": url,
            "school_id": _SCHOOL,
            "page_size": "50",
            "request_timeout_seconds": str(_TIMEOUT),
            "read_attempts": "3",
            "retry_wait_seconds": "0.01",
            "behaviour_writes": "yes",
            "writeback_settles_seconds": str(_SETTLES),
        },
        credentials={"token": _TOKEN},
        fault=fault,
        clear_faults=control.forget_faults,
        struck=lambda kind: api.scripted.struck[kind] if kind in KINDS else school.server.struck(kind),
        requests=lambda: api.log.total,
        timeout=_TIMEOUT,
    )


def _called(truth: Truth, _world: World) -> Truth:
    student = truth.message
    assert isinstance(student, Student)
    for name in ("forename", "surname"):
        if not student.HasField(f"preferred_{name}"):  # type: ignore[arg-type] # the names of two fields
            setattr(student, f"preferred_{name}", getattr(student, name))
    if student.sex_code:
        student.sex_code = {"M": "MALE", "F": "FEMALE"}[student.sex_code]
    return truth


def _has_left(truth: Truth, world: World) -> bool:
    return truth.key[0] not in shown_pupils(world)


def _ended(truth: Truth, world: World) -> bool:
    """Say whether a span does not hold today."""
    first, end = (str(getattr(truth.message, name)) for name in ("valid_from", "valid_to"))
    today = world.today.isoformat()
    return first > today or bool(end and end <= today)


def _in_two_parts(truth: Truth, world: World) -> bool:
    """Say whether an earlier one of today's assignments has the same people."""
    today = world.today
    for key, held in world.assignments.items():
        if key[:2] == truth.key[:2] and held.valid_from <= today < (held.valid_to or date.max):
            return (*key[:3], key[3].isoformat()) != truth.key
    return False


def _lessons(truth: Truth, world: World) -> list[Truth]:
    """Return an entry's lessons, day by day."""
    entry = world.timetable[int(truth.key[0])]
    period = world.periods[entry.period]
    found: list[Truth] = []
    for day, week in lesson_days(world):
        inside = entry.valid_from <= day and (entry.valid_to is None or day < entry.valid_to)
        if inside and (week, day.isoweekday()) == (period.week, period.weekday):
            end = day + timedelta(days=1)
            one = TimetableEntry(valid_from=day.isoformat(), valid_to=end.isoformat())
            found.append(truth._replace(key=(*truth.key, day.isoformat()), message=one))
    return found


_NO_DATES: Final = "No field with the dates of it is public."
_NOT_NAMED: Final = "No field with it is public; it is read where a school's settings name one."
_WAIVERS: Final[tuple[Waiver, ...]] = (
    without_kind(k.KIND_SCHOOL, reason="No field of schools/{id} is public beside the id."),
    without_kind(k.KIND_ACADEMIC_YEAR, reason="No resource with academic years is public."),
    without_kind(k.KIND_ENROLMENT, reason="No resource with enrolments is public."),
    without_kind(k.KIND_ADMISSION, reason="No resource with admissions is public."),
    without_kind(k.KIND_LOCAL_CODE, reason="No resource with the school's own codes is public."),
    without_kind(k.KIND_ASSESSMENT_RESULT, reason="No field of assessment/results is public."),
    hidden(k.KIND_STUDENT, _has_left, reason="Who has left stands in students-leaver, which is not read."),
    hidden(
        k.KIND_STUDENT_CONTACT,
        _has_left,
        reason="Contacts nest in students, where those who have left are not.",
    ),
    shown_as(
        k.KIND_STUDENT,
        _called,
        reason="Wonde says of everybody what they are called, and writes a gender out.",
    ),
    without_fields(
        k.KIND_STUDENT,
        *("exam_number", "ethnicity_code", "sen_provision_code", "free_school_meals_ever_6"),
        *("english_additional_language", "in_care", "gifted_and_talented", "pupil_premium"),
        reason=_NOT_NAMED,
    ),
    without_fields(k.KIND_STAFF, "staff_code", "job_title", reason=_NOT_NAMED),
    without_fields(k.KIND_GROUP, "valid_from", "valid_to", reason=_NO_DATES),
    hidden(
        k.KIND_GROUP_MEMBERSHIP, _ended, reason="Who nests in a class or group is in it now, and still there."
    ),
    without_fields(k.KIND_GROUP_MEMBERSHIP, "valid_from", "valid_to", reason=_NO_DATES),
    hidden(k.KIND_STAFF_ASSIGNMENT, _ended, reason="Who nests in a class or group works there now."),
    hidden(
        k.KIND_STAFF_ASSIGNMENT,
        _in_two_parts,
        reason="An employee nests once in a class or group, whatever they do there.",
    ),
    without_fields(
        k.KIND_STAFF_ASSIGNMENT,
        *("role_code", "valid_from", "valid_to"),
        reason="No field with an employee's part in a class or group, or its dates, is public.",
    ),
    without_fields(k.KIND_PERIOD, "type_code", "week", reason="No field with it is public."),
    shown_as(
        k.KIND_TIMETABLE_ENTRY, _lessons, reason="A lesson is one of a day: a mark names it, and no date."
    ),
    without_fields(
        k.KIND_TIMETABLE_ENTRY, "subject_id", reason="A lesson's subject is its class's; no other is public."
    ),
    without_fields(k.KIND_ATTENDANCE_CODE, "valid_from", "valid_to", reason=_NO_DATES),
    without_fields(
        k.KIND_BEHAVIOUR_EVENT,
        *("type_name", "internal_comment", "group_id", "room_id"),
        reason="No field with it is public.",
    ),
    unchecked(
        "wire.other_school",
        reason="Nothing public in a row says whose it is, so another school's page looks like one of this "
        "school's; what it changes or removes is held by the server where it is much.",
    ),
    unchecked(
        "wire.success_false",
        reason="Wonde says by the HTTP status that it did not succeed; no other form of it is public.",
    ),
    unchecked(
        "wire.mark_change",
        reason="A mark names its code by the id of an attendance code, which is no text to be taken apart.",
    ),
)
