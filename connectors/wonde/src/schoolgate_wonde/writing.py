"""Writing marks, behaviours and achievements, and finding out what became of it.

Wonde takes a write, answers with a ``writeback_id``, and passes it on to the MIS later; no way to ask for
that id is public. So an effect is found by what was written, among the rows that changed since. One that
somebody entered by hand with the same values cannot be told from ours: it is taken for ours, and nothing is
written beside it. That nothing happened is said only once the time has passed that the school's settings
give Wonde for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import orjson
from google.protobuf.message import Message

from schoolgate.v1.attendance_pb2 import (
    ATTENDANCE_SESSION_AM,
    ATTENDANCE_SESSION_LESSON,
    ATTENDANCE_SESSION_PM,
    AttendanceMark,
)
from schoolgate.v1.behaviour_pb2 import BehaviourEvent
from schoolgate_sdk import (
    EntityDenied,
    Incomplete,
    Parsed,
    RowRejected,
    SourceKey,
    Transient,
    Unsupported,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteSafety,
    WriteValue,
    written_moment,
)
from schoolgate_wonde import fields, pages
from schoolgate_wonde.client import WondeClient
from schoolgate_wonde.datasets import BY_NAME, WondeDataset
from schoolgate_wonde.lessons import Lessons
from schoolgate_wonde.parsers import keys
from schoolgate_wonde.parsers.records import LESSON, SESSION
from schoolgate_wonde.settings import WondeSettings

RECORD_ATTENDANCE_MARK: Final = WriteOperation(
    "record_attendance_mark",
    WriteSafety.NATURAL_KEY_READBACK,
    required=("student_id", "date", "session", "code"),
    optional=("period_name", "comment", "minutes_late", "staff_id"),
    natural_key=("student_id", "date", "session", "period_name", "code", "comment", "minutes_late"),
    entities=(SESSION,),
    announces=True,
)
"""A mark of a session (AM, PM), or of a lesson (LESSON) with the name of its period; the school must then
have approved ``attendance/lesson`` too, and what a lesson is found by: ``lessons``, ``periods``, ``classes``.
"""

RECORD_BEHAVIOUR_EVENT: Final = WriteOperation(
    "record_behaviour_event",
    WriteSafety.NATURAL_KEY_READBACK,
    required=("student_id", "type_code", "occurred_at", "staff_id", "points"),
    optional=("comment",),
    natural_key=("student_id", "type_code", "occurred_at", "staff_id", "points", "comment"),
    entities=("achievements", "behaviours"),
    announces=True,
)
"""Points below zero go to ``behaviours``, others to ``achievements``."""

WRITES: Final = (RECORD_ATTENDANCE_MARK, RECORD_BEHAVIOUR_EVENT)

_MOST_PAGES: Final = 5_000
_MOST_CODE_PAGES: Final = 50
_CLOCKS: Final = timedelta(minutes=10)
"""How far Wonde's clock may be behind ours, for what changed since."""
_LONGEST_RECEIPT: Final = 200
"""Characters of a ``writeback_id``: it is kept, and what is longer is none."""
_LESSON: Final = "LESSON"
_SESSIONS: Final = {
    "AM": ATTENDANCE_SESSION_AM,
    "PM": ATTENDANCE_SESSION_PM,
    _LESSON: ATTENDANCE_SESSION_LESSON,
}


class WondeWriter:
    """Writes for one school. ``settings`` are the registration's, ``typed`` the same checked."""

    def __init__(
        self,
        client: WondeClient,
        settings: Mapping[str, str],
        typed: WondeSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._settings = settings
        self._typed = typed
        self._now = now
        self._lessons = Lessons(client, settings, now)

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """See ``WriteRows``.

        What has to be read first is read before ``request.leaving`` is asked.

        Raises:
            FieldErrors: HTTP 422; it took no effect.
        """
        if request.operation == RECORD_ATTENDANCE_MARK.name:
            mark = self._mark(request)
            resource, body = mark.resource, {"attendance": [await self._form(mark)]}
        else:
            event = self._event(request)
            resource = event.resource
            body = {resource: [event.form(fields.paths(resource, self._settings))]}
        answer = await self._client.send("POST", resource, body, request.leaving)
        match answer.get("writeback_id"):
            case str(found) if 0 < len(found.strip()) <= _LONGEST_RECEIPT:
                pending = found.strip()
            case int(number) if not isinstance(number, bool):
                pending = str(number)
            case _:
                raise Transient("Wonde's answer has no writeback_id", entity=resource)
        return WriteReceipt(pending=pending, response=orjson.dumps({"writeback_id": pending}).decode())

    async def find_write(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        """See ``FindWrite``."""
        wanted: _Mark | _Event
        if request.operation == RECORD_ATTENDANCE_MARK.name:
            name, wanted = "attendance_marks", self._mark(request)
        else:
            name, wanted = "behaviour_events", self._event(request)
        found = await self._found(name, wanted, request.not_before)
        ids = () if receipt is None else receipt.mis_ids
        same = {key for key in found.same if key.parts[-1] in ids} or found.same
        if len(same) == 1:
            [key] = same
            return WriteReceipt((str(key.parts[-1]),), keys=(key,))
        if same:
            raise Incomplete("several records are as this one was written")
        if receipt is not None and receipt.pending:
            return receipt  # Wonde took it, and does not say when it gives up
        if receipt is not None and receipt.mis_ids:
            raise Incomplete("what came of the write is not shown any more")
        began, settles = request.not_before, timedelta(seconds=self._typed.writeback_settles)
        if began is None or self._now() - began < settles:
            raise Transient("the write is not shown, and may still be on its way")
        if found.alike:
            raise Incomplete("a record that the write may have made was changed since, or is another's")
        if await self._found(name, wanted, began) != found:
            raise Transient("two reads of what changed do not agree")  # a row may have moved between pages
        if not await self._is_shown(wanted.student):
            raise Incomplete(
                "Wonde does not show the pupil, and may hide what was written", entity="students"
            )
        return None

    async def _is_shown(self, student: str) -> bool:
        """Whether the pupil is not hidden, for want of consent, say, and what is theirs too."""
        try:
            return await self._client.single("students", student, ()) is not None
        except EntityDenied:
            return False

    def _mark(self, request: WriteRequest) -> _Mark:
        mark = _Mark(request)
        if mark.resource == LESSON and not self._typed.lesson_mark_writes:
            raise Unsupported("marks of lessons are written only where setting lesson_mark_writes is yes")
        return mark

    async def _form(self, mark: _Mark) -> dict[str, object]:
        code_id = await self._code_id(mark.code)
        if mark.resource == SESSION:
            return mark.session_form(code_id)
        return mark.lesson_form(code_id, await self._lessons.of(mark.student, mark.date, mark.period_name))

    def _event(self, request: WriteRequest) -> _Event:
        if request.operation != RECORD_BEHAVIOUR_EVENT.name:
            raise Unsupported(f"{request.operation} is not written by this connector")
        if not self._typed.behaviour_writes:
            raise Unsupported("behaviours are written only where setting behaviour_writes is yes")
        return _Event(request, self._typed)

    async def _code_id(self, code: str) -> str:
        """Return Wonde's id of an attendance code."""
        dataset = BY_NAME["attendance_codes"]
        for number in range(1, _MOST_CODE_PAGES + 1):
            page = await self._client.page("attendance-codes", number)
            for row in page.rows:
                for parsed in _parsed(dataset, row, self._settings):
                    if getattr(parsed.message, "code", "") == code:
                        return str(parsed.key.parts[0])
            if not page.more or not page.rows:
                break
        raise Unsupported("the school has no such attendance code at Wonde", entity="attendance-codes")

    async def _found(self, name: str, wanted: _Mark | _Event, began: datetime | None) -> _Found:
        """Look for what is as it was written, and what may be, among what changed since the first attempt."""
        after = None if began is None else began - _CLOCKS
        same: set[SourceKey] = set()
        alike: set[SourceKey] = set()
        async for parsed in self._changed(BY_NAME[name], wanted.resource, after):
            if wanted.is_in(parsed):
                same.add(parsed.key)
            elif wanted.is_like(parsed):
                alike.add(parsed.key)
        return _Found(frozenset(same), frozenset(alike))

    async def _changed(
        self, dataset: WondeDataset, resource: str, after: datetime | None
    ) -> AsyncIterator[Parsed]:
        include = dataset.includes(resource, self._settings)
        ask = partial(self._client.page, resource, include=include, updated_after=after)
        async for page in pages.undoubted(ask, resource, _MOST_PAGES):
            for given in page:
                for row in dataset.rows(resource, given):
                    try:
                        found = list(dataset.parser(row, self._settings))
                    except RowRejected as rejected:
                        raise Incomplete(
                            "a record cannot be read, and may be what was written", entity=resource
                        ) from rejected
                    for parsed in found:
                        yield parsed


class _Found(NamedTuple):
    """Keys of records that are as a write asked for, and of those that somebody may have made of it since."""

    same: frozenset[SourceKey]
    alike: frozenset[SourceKey]


def _parsed(dataset: WondeDataset, row: Mapping[str, object], settings: Mapping[str, str]) -> list[Parsed]:
    try:
        return list(dataset.parser(row, settings))
    except RowRejected:
        return []


class _Mark:
    """A mark of a session or of a lesson as it is asked for.

    Raises:
        Unsupported: a value cannot be written.
    """

    def __init__(self, request: WriteRequest) -> None:
        given = request.values
        self.student = _id(given, "student_id", keys.STUDENT)
        self.date = _day(given.get("date"))
        session = given.get("session")
        if session not in _SESSIONS:
            raise Unsupported('session must be "AM", "PM" or "LESSON"')
        self.session = str(session)
        self.resource = LESSON if session == _LESSON else SESSION
        self.period_name = _text(given, "period_name") or ""
        if bool(self.period_name) != (self.resource == LESSON):
            raise Unsupported("period_name belongs to a mark of a lesson, and to no other")
        self.code = _text(given, "code") or ""
        if not self.code:
            raise Unsupported("code must be an attendance code")
        self.comment = _text(given, "comment")
        self.late = late = given.get("minutes_late")
        if late is not None and (not isinstance(late, int) or isinstance(late, bool) or not 0 <= late < 1440):
            raise Unsupported("minutes_late must be minutes of a day")
        self.staff = None if given.get("staff_id") is None else _id(given, "staff_id", keys.STAFF)
        if self.resource == LESSON and {self.comment, self.late, self.staff} != {None}:
            raise Unsupported("the form for marks of lessons has no place for a comment, minutes or staff")

    def lesson_form(self, code_id: str, lesson_id: str) -> dict[str, object]:
        """Return a lesson's mark in the public form."""
        return {"lesson_id": lesson_id, "student_id": self.student, "attendance_code_id": code_id}

    def session_form(self, code_id: str) -> dict[str, object]:
        """Return a session's mark in the public form; what is optional is left out where there is none."""
        form: dict[str, object] = {
            "date": self.date,
            "session": self.session,
            "student_id": self.student,
            "attendance_code_id": code_id,
        }
        optional = {"comment": self.comment, "employee_id": self.staff, "minutes_late": self.late}
        return form | {name: value for name, value in optional.items() if value is not None}

    def is_like(self, parsed: Parsed) -> bool:
        """Say whether a mark is the pupil's of that session or lesson, whatever it is by now."""
        mark = parsed.message
        return (
            isinstance(mark, AttendanceMark)
            and _refers(parsed, "student_id", self.student)
            and (mark.date, mark.session) == (self.date, _SESSIONS[self.session])
            and (self.resource == SESSION or mark.period_name == self.period_name)
        )

    def is_in(self, parsed: Parsed) -> bool:
        """Say whether a mark is this one."""
        mark = parsed.message
        return (
            isinstance(mark, AttendanceMark)
            and self.is_like(parsed)
            and mark.code == self.code
            and (self.resource == LESSON or _same(mark, "comment", self.comment))
            and (self.late is None or mark.minutes_late == self.late)
        )


class _Event:
    """A behaviour or an achievement as it is asked for.

    Raises:
        Unsupported: a value cannot be written.
    """

    def __init__(self, request: WriteRequest, settings: WondeSettings) -> None:
        given = request.values
        self.student = _id(given, "student_id", keys.STUDENT)
        self.staff = _id(given, "staff_id", keys.STAFF)
        self.kind = _text(given, "type_code") or ""
        if not self.kind:
            raise Unsupported("type_code must be a type of behaviour")
        points = given.get("points")
        if not isinstance(points, int) or isinstance(points, bool) or not -(2**31) <= points < 2**31:
            raise Unsupported("points must be a number within 32 bits")
        self.points = points
        self.comment = _text(given, "comment")
        local = written_moment(given, "occurred_at").astimezone(settings.zone)
        self.local = f"{local:%Y-%m-%dT%H:%M}"
        self.resource = "behaviours" if points < 0 else "achievements"

    def form(self, names: Mapping[str, str]) -> dict[str, object]:
        """Return the event under the names by which the school's settings have it read."""
        given: dict[str, object] = {
            "student": self.student,
            "type": self.kind,
            "points": self.points,
            "comment": self.comment,
            "date": self.local.replace("T", " ") + ":00",
            "employee": self.staff,
        }
        for name, value in given.items():
            if value is not None and (not names[name] or "." in names[name]):
                raise Unsupported(f"{name} has no field of its own that could be written")
        return {names[name]: value for name, value in given.items() if value is not None}

    def is_like(self, parsed: Parsed) -> bool:
        """Say whether an event is the pupil's of that minute, whatever it is by now."""
        event = parsed.message
        return (
            isinstance(event, BehaviourEvent)
            and _refers(parsed, "student_id", self.student)
            and event.occurred_at[: len(self.local)] == self.local
        )

    def is_in(self, parsed: Parsed) -> bool:
        """Say whether an event is this one, to the minute."""
        event = parsed.message
        return (
            isinstance(event, BehaviourEvent)
            and self.is_like(parsed)
            and _refers(parsed, "staff_id", self.staff)
            and (event.type_code, event.points) == (self.kind, self.points)
            and _same(event, "comment", self.comment)
        )


def _refers(parsed: Parsed, field: str, number: str) -> bool:
    return any(ref.field == field and ref.key.parts == (number,) for ref in parsed.refs)


def _same(message: Message, field: str, value: str | None) -> bool:
    return (getattr(message, field) or None) == value


def _id(given: Mapping[str, WriteValue], name: str, space: str) -> str:
    key = given.get(name)
    if isinstance(key, SourceKey) and key.namespace == space and len(key.parts) == 1:
        number = key.parts[0]
        if isinstance(number, str):
            return number
    raise Unsupported(f"{name} must be a key of {space}")


def _text(given: Mapping[str, WriteValue], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise Unsupported(f"{name} must be a text")
    return (value or "").strip() or None


def _day(value: WriteValue) -> str:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "").isoformat()
    except ValueError:
        raise Unsupported("date must be a date") from None
