"""Writing behaviour events: ``POST /v2/BehaviourEventRecords`` with ``eventRecordId`` 0.

Whether the answer carries the new id is not known, and Bromcom takes no id of ours, so an event is found
again by what was written. That cannot tell an event of ours from one that somebody entered by hand with the
same pupil, type, minute, teacher, points and comment: such a one is taken for ours, and never written beside
it.

A school needs a paid Third Party Write Licence; without it Bromcom refuses, with which status is not known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from schoolgate_bromcom import values
from schoolgate_bromcom.client import BromcomClient
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.filters import Column, all_of, between, one_of
from schoolgate_bromcom.parsers import keys
from schoolgate_bromcom.written import LARGEST_ID, Likeness, id_of, read_twice
from schoolgate_sdk import (
    EntityDenied,
    Incomplete,
    Row,
    RowRejected,
    SourceKey,
    Unsupported,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteSafety,
    WriteValue,
    written_moment,
)

ENTITY: Final = "BehaviourEventRecords"
_PUPILS: Final = "StudentFlatView"

RECORD_BEHAVIOUR_EVENT: Final = WriteOperation(
    "record_behaviour_event",
    WriteSafety.NATURAL_KEY_READBACK,
    required=("student_id", "type_code", "occurred_at", "staff_id", "points"),
    optional=("comment",),
    natural_key=("student_id", "type_code", "occurred_at", "staff_id", "points", "comment"),
    entities=(ENTITY,),
    announces=True,
)
"""The one write over the Partner API that public sources show; no surface has a public attendance write."""

_MOST_PAGES: Final = 20
_MINUTE: Final = len("2026-09-22T10:05")
_LONGEST_ID: Final = len(str(LARGEST_ID))
_LONGEST_SHIFT: Final = timedelta(hours=14)
"""How far two clocks are apart at most: what differs by less may be the same event by another clock."""


class _Event:
    """The values of one request, as Bromcom writes them.

    Raises:
        Unsupported: a value cannot be written at this school.
    """

    def __init__(self, request: WriteRequest, settings: Mapping[str, str]) -> None:
        given = request.values
        self.student = id_of(given, "student_id", keys.STUDENT)
        if settings["owner_id_is_staff_id"] != "yes":
            raise Unsupported(
                "who recorded an event can be written only where setting owner_id_is_staff_id is yes"
            )
        self.owner = id_of(given, "staff_id", keys.STAFF)
        self.kind = _type(given.get("type_code"))
        points = given.get("points")
        if not isinstance(points, int) or isinstance(points, bool) or not -LARGEST_ID <= points <= LARGEST_ID:
            raise Unsupported("points must be a number within 32 bits")
        self.points = points
        comment = given.get("comment")
        if comment is not None and not isinstance(comment, str):
            raise Unsupported("comment must be a text")
        self.comment = comment
        moment = written_moment(given, "occurred_at")
        self.local = moment.astimezone(ZoneInfo(settings["time_zone"])).replace(tzinfo=None)
        sent = moment if settings["event_date_sent_in"] == "utc" else self.local
        self.sent = f"{sent:%Y-%m-%dT%H:%M:%S}.000Z"

    def body(self, school: int) -> dict[str, object]:
        """Return the event in the form that a public client sends."""
        return {
            "schoolId": school,
            "studentId": self.student,
            "eventRecordId": 0,
            "eventId": self.kind,
            "ownerId": self.owner,
            "classId": 0,
            "locationId": 0,
            "eventDate": self.sent,
            "adjustment": self.points,
            "comment": self.comment,
            "internalComment": None,
        }

    def days(self) -> tuple[date, date]:
        """Return the days, half-open, on which the event may be found by any clock."""
        return self.local.date() - timedelta(days=1), self.local.date() + timedelta(days=2)


class BehaviourWriter:
    """Writes behaviour events of one school, and finds out what became of them."""

    def __init__(self, client: BromcomClient, settings: Mapping[str, str]) -> None:
        self._client = client
        self._settings = settings

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """Send an event once.

        Raises:
            Transient: the outcome is unknown, or (``CircuitOpen``) nothing was sent.
            WriteStopped: as ``request.leaving`` raised it; nothing was sent.
            Unsupported: a value cannot be written; nothing was sent. Or Bromcom does not know the entity.
            ConnectorError: as :meth:`BromcomClient.post` raises, where Bromcom refused.
        """
        event = _Event(request, self._settings)
        data = await self._client.post(ENTITY, event.body, request.leaving)
        match data:
            case {"eventRecordId": int(number)} if number > 0 and not isinstance(number, bool):
                return _receipt({number}, orjson.dumps({"eventRecordId": number}).decode())
            case _:
                return WriteReceipt()

    async def find(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        """Look for the event among the pupil's of those days, in two reads that have to agree.

        Where ``receipt`` has an id it is the one of that id, be it as it was written or changed since.

        Raises:
            Transient: the reads do not agree, or as :meth:`BromcomClient.page` raises.
            Incomplete: several events are the same, or one is alike in all but the hour, points or comment,
                or the one whose id was told is not shown, or the pupil is not.
        """
        event = _Event(request, self._settings)
        rows = await read_twice(lambda: self._rows(event), "events", ENTITY)
        found = [_compared(row, event) for row in rows]
        ids = receipt.mis_ids if receipt else ()
        told = {number for number, _ in found if str(number) in ids}
        if told:
            return _receipt(told)
        if receipt and receipt.mis_ids:
            raise Incomplete("the event whose id Bromcom told is not shown", entity=ENTITY)
        same = {number for number, likeness in found if likeness == Likeness.SAME}
        if len(same) == 1:
            return _receipt(same)
        if same:
            raise Incomplete("several events are as this one was written", entity=ENTITY)
        if any(likeness == Likeness.ALIKE for _, likeness in found):
            raise Incomplete("an event is much as this one was written, and may be it", entity=ENTITY)
        await self._check_shown(event.student)
        return None

    async def _check_shown(self, student: int) -> None:
        """Raise ``Incomplete`` where the pupil is hidden, for want of consent, say, and their events too."""
        try:
            page = await self._client.page(_PUPILS, one_of(Column.STUDENT_ID, [student]), 0)
        except (EntityDenied, Unsupported):
            page = None
        if page is None or not page.rows:
            raise Incomplete("Bromcom does not show the pupil, and may hide the event", entity=_PUPILS)

    async def _rows(self, event: _Event) -> list[Row]:
        first, end = event.days()
        predicate = all_of(one_of(Column.STUDENT_ID, [event.student]), between(Column.EVENT_DATE, first, end))
        found: list[Row] = []
        for number in range(_MOST_PAGES):
            rows = (await self._client.page(ENTITY, predicate, number)).rows
            if not rows:
                return found
            found += rows
        raise Incomplete("Bromcom gave more events than a pupil can have", entity=ENTITY)


def _receipt(numbers: Collection[int], response: str = "") -> WriteReceipt:
    """Return the receipt of events by their numbers, under the keys that the dataset has them by."""
    ordered = sorted(numbers)
    return WriteReceipt(
        tuple(map(str, ordered)),
        keys=tuple(SourceKey(keys.BEHAVIOUR_EVENT_RECORD, (number,)) for number in ordered),
        response=response,
    )


def _compared(row: Row, event: _Event) -> tuple[int, Likeness]:
    """Return the number of an event in Bromcom, and how like ``event`` it is.

    Raises:
        Incomplete: the row cannot be read, and so may be it.
    """
    reader = RowReader(row)
    try:
        reader.check()
        number = reader.key_number("eventRecordId")
        if reader.number("studentId") != event.student or reader.number("eventId") != event.kind:
            return number, Likeness.OTHER
        moment = reader.value("eventDate", values.moment)
        rest = (
            reader.number("ownerId") == event.owner,
            reader.value("adjustment", values.points) == event.points,
            reader.text("comment") == values.text(event.comment),
        )
    except RowRejected as rejected:
        raise Incomplete("an event of the pupil's cannot be read, and may be it", entity=ENTITY) from rejected
    if moment is None:
        return number, Likeness.ALIKE
    shift = abs(datetime.fromisoformat(moment).replace(tzinfo=None) - event.local)
    if moment[:_MINUTE] == f"{event.local:%Y-%m-%dT%H:%M}":
        return number, Likeness.SAME if all(rest) else Likeness.ALIKE
    by_another_clock = all(rest) and shift <= _LONGEST_SHIFT and _whole_hours(shift)
    return number, Likeness.ALIKE if by_another_clock else Likeness.OTHER


def _whole_hours(shift: timedelta) -> bool:
    """Whether two clocks may differ so: by hours, give or take the seconds that one of them does not show."""
    return min(shift % timedelta(hours=1), -shift % timedelta(hours=1)) < timedelta(minutes=1)


def _type(code: WriteValue) -> int:
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) <= _LONGEST_ID:
        number = int(code)
        if 0 < number <= LARGEST_ID:
            return number
    raise Unsupported("type_code must be the number of a type of behaviour")
