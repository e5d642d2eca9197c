"""Parsers of the timetable: rooms, slots, and lessons."""

from __future__ import annotations

from collections.abc import Mapping

from schoolgate.v1.kind_pb2 import KIND_PERIOD, KIND_ROOM, KIND_TIMETABLE_ENTRY
from schoolgate.v1.timetable_pb2 import Period, Room, TimetableEntry
from schoolgate_sdk import Parsed, Ref, Row, SourceKey
from schoolgate_wonde import values
from schoolgate_wonde.parsers import keys
from schoolgate_wonde.rows import RowReader


def parse_room(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the room."""
    reader = RowReader(row, settings, "rooms")
    key = reader.set_key(keys.ROOM, reader.key_id())
    return (Parsed(KIND_ROOM, key, Room(code=reader.text("code"), name=reader.text("name"))),)


def parse_period(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the slot."""
    reader = RowReader(row, settings, "periods")
    key = reader.set_key(keys.PERIOD, reader.key_id())
    period = Period(
        name=reader.text("name"),
        weekday=reader.field("weekday", values.weekday),
        start_time=reader.field("start_time", values.time_of_day),
        end_time=reader.field("end_time", values.time_of_day),
    )
    return (Parsed(KIND_PERIOD, key, period),)


def parse_lesson(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the lesson as an entry of one day: a mark names a lesson and no date, so a lesson has its own."""
    reader = RowReader(row, settings, "lessons")
    key = reader.set_key(keys.LESSON, reader.key_id())
    entry = TimetableEntry(
        valid_from=reader.field("date", values.day), valid_to=reader.field("date", values.next_day)
    )
    refs: list[Ref] = []
    group, period, room, employee = (reader.id(name) for name in ("class", "period", "room", "employee"))
    if group is not None:
        refs.append(keys.group_ref("classes", group))
    if period is not None:
        refs.append(Ref("period_id", KIND_PERIOD, SourceKey(keys.PERIOD, (period,))))
    if employee is not None:
        refs.append(keys.staff_ref(employee))
    if room is not None:
        refs.append(Ref("room_id", KIND_ROOM, SourceKey(keys.ROOM, (room,))))
    return (Parsed(KIND_TIMETABLE_ENTRY, key, entry, tuple(refs)),)
