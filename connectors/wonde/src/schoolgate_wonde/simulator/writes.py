"""Writes: refused at once for what is in them (HTTP 422), else taken, and in effect some time later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Final, cast

import orjson
from aiohttp import web

from schoolgate_sdk.testing.attendance_codes import CURRENT_CODES
from schoolgate_sdk.testing.entities import Session
from schoolgate_sdk.testing.world import EditRefused
from schoolgate_wonde.simulator.entities import lesson_of
from schoolgate_wonde.simulator.ids import code_id, number_of
from schoolgate_wonde.simulator.school import SimulatedSchool

WRITABLE: Final = frozenset({"attendance/session", "attendance/lesson", "behaviours", "achievements"})

_SESSIONS: Final[Mapping[object, Session]] = {"AM": "AM", "PM": "PM"}
_CODES: Final = {code_id("attendance-codes", code): code for code in CURRENT_CODES}


class FieldErrors(Exception):
    """What is written cannot be; ``fields`` are those at fault."""

    def __init__(self, *fields: str) -> None:
        super().__init__(", ".join(fields))
        self.fields = fields


async def answer_write(school: SimulatedSchool, request: web.Request, resource: str) -> web.StreamResponse:
    """Answer one write of one record or of several, all or none of them."""
    if resource not in school.server.granted:
        return school.server.refuse(403)
    try:
        effects = _effects(school, resource, await request.read())
    except FieldErrors as refused:
        errors = {name: [f"The {name} is invalid."] for name in refused.fields}
        return web.json_response({"error": "Validation failed.", "errors": errors}, status=422)

    def take() -> dict[str, object]:
        return {"writeback_id": school.later(*effects)}

    return await school.server.wrote(request, resource, take)


async def answer_delete(
    school: SimulatedSchool, request: web.Request, resource: str, identifier: str
) -> web.StreamResponse:
    """Answer the deletion of a behaviour or an achievement."""
    if resource not in {"behaviours", "achievements"}:
        return school.server.refuse(405)
    number = number_of(resource, identifier)
    if resource not in school.server.granted:
        return school.server.refuse(403)
    if number is None or number not in school.world.behaviour:
        return school.server.refuse(404)

    def take() -> dict[str, object]:
        return {"writeback_id": school.later(lambda: school.world.delete_behaviour(number))}

    return await school.server.wrote(request, resource, take)


def _effects(school: SimulatedSchool, resource: str, body: bytes) -> list[Callable[[], None]]:
    name = resource.partition("/")[0]
    try:
        given: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise FieldErrors(name) from None
    forms: Any = cast("dict[str, Any]", given).get(name) if isinstance(given, dict) else None
    if not isinstance(forms, list) or not forms:
        raise FieldErrors(name)
    make = _MAKE.get(resource, _event)
    effects: list[Callable[[], None]] = []
    for form in cast("list[object]", forms):
        if not isinstance(form, dict):
            raise FieldErrors(name)
        effects.append(make(school, cast("dict[str, Any]", form)))
    return effects


def _pupil(school: SimulatedSchool, form: Mapping[str, Any]) -> int:
    number = number_of("students", form.get("student_id"))
    if number is None or number not in school.world.pupils or number in school.world.withheld:
        raise FieldErrors("student_id")
    return number


def _mark(school: SimulatedSchool, form: Mapping[str, Any]) -> Callable[[], None]:
    pupil, session, comment = _pupil(school, form), form.get("session"), form.get("comment")
    code = _code(form)
    if session not in _SESSIONS:
        raise FieldErrors("session")
    if "employee_id" in form and number_of("employees", form["employee_id"]) not in school.world.staff:
        raise FieldErrors("employee_id")
    try:
        day = date.fromisoformat(str(form.get("date")))
    except ValueError:
        raise FieldErrors("date") from None
    return _unless_refused(
        lambda: school.world.record_mark(pupil, day, code, session=_SESSIONS[session], comment=comment)
    )


def _code(form: Mapping[str, Any]) -> str:
    code = _CODES.get(str(form.get("attendance_code_id")))
    if code is None:
        raise FieldErrors("attendance_code_id")
    return code


def _lesson_mark(school: SimulatedSchool, form: Mapping[str, Any]) -> Callable[[], None]:
    pupil, code = _pupil(school, form), _code(form)
    lesson = lesson_of(school.world, form.get("lesson_id"))
    if lesson is None:
        raise FieldErrors("lesson_id")
    entry, day = lesson
    return _unless_refused(lambda: school.world.record_mark(pupil, day, code, period=entry.period))


_MAKE: Final = {"attendance/session": _mark, "attendance/lesson": _lesson_mark}


def _event(school: SimulatedSchool, form: Mapping[str, Any]) -> Callable[[], None]:
    pupil, points = _pupil(school, form), form.get("points")
    kind = str(form.get("type"))
    if not kind.isdecimal() or int(kind) not in school.world.behaviour_types:
        raise FieldErrors("type")
    staff = number_of("employees", form.get("employee_id"))
    if staff not in school.world.staff:
        raise FieldErrors("employee_id")
    if not isinstance(points, int):
        raise FieldErrors("points")
    try:
        at = datetime.fromisoformat(str(form.get("date")))
    except ValueError:
        raise FieldErrors("date") from None
    return _unless_refused(
        lambda: school.world.record_behaviour(
            pupil, int(kind), at, points=points, staff=staff, comment=form.get("comment")
        )
    )


def _unless_refused(edit: Callable[[], object]) -> Callable[[], None]:
    """Return the edit as an effect: what the MIS refuses later, nobody hears of."""

    def effect() -> None:
        try:
            edit()
        except EditRefused:
            return

    return effect
