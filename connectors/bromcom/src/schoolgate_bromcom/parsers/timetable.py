"""Parsers of the timetable: rooms, slots, and which class meets when, where and with whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schoolgate.v1.kind_pb2 import KIND_PERIOD, KIND_ROOM, KIND_TIMETABLE_ENTRY
from schoolgate.v1.timetable_pb2 import Period, Room, TimetableEntry
from schoolgate_bromcom import values
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.parsers import keys
from schoolgate_sdk import KeyPart, Parsed, Ref, Row, SourceKey

_WEEKDAYS: Final = {"MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6, "SUN": 7}


def parse_room(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the room from a row of ``Locations``, whose columns the school's settings name."""
    reader = RowReader(row)
    number = reader.key_number(settings["column_room_id"])
    key = reader.key = SourceKey(keys.LOCATION, (number,))
    room = Room(
        code=reader.configured_text(settings.get("column_room_code", "")),
        name=reader.configured_text(settings.get("column_room_name", "")),
    )
    return (Parsed(KIND_ROOM, key, room),)


def parse_period(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the slot from a row of ``PeriodStructures``.

    The day of the week is that which begins ``calendarModelName`` (``MON_1_1``); only without one it is
    ``dayOfWeek``, for which nothing public says whether the week begins on Sunday.
    """
    reader = RowReader(row)
    number = reader.key_number("calendarModelID")
    key = reader.key = SourceKey(keys.CALENDAR_MODEL, (number,))
    model = reader.text("calendarModelName") or ""
    period = Period(
        name=reader.code("periodDisplayName"),
        type_code=reader.code("calendarTypeName"),
        week=reader.value("weekNumber", values.small_number),
        weekday=_WEEKDAYS.get(model.upper()[:3]) or reader.value("dayOfWeek", values.weekday),
        start_time=reader.value("defaultStartTime", values.time_of_day),
        end_time=reader.value("defaultEndTime", values.time_of_day),
    )
    return (Parsed(KIND_PERIOD, key, period),)


def parse_timetable_entry(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the entry from a row of ``CollectionTimetables``.

    A class that is taught by two people, or in two rooms, at one time has a row for each, so everything that
    tells the rows apart is part of the key; 0 stands for nobody and no room.
    """
    reader = RowReader(row)
    group, slot = reader.key_number("collectionID"), reader.key_number("calendarModelID")
    employee, room = reader.number("employeeID"), reader.number("locationID")
    valid_from = reader.day("startDate")
    parts: tuple[KeyPart, ...] = (group, slot, employee or 0, room or 0, *keys.start(valid_from))
    key = reader.key = SourceKey(keys.COLLECTION_TIMETABLE, parts)
    entry = TimetableEntry(valid_from=valid_from, valid_to=reader.day_after_last("endDate"))
    refs = [*keys.group_ref(group), Ref("period_id", KIND_PERIOD, SourceKey(keys.CALENDAR_MODEL, (slot,)))]
    if employee is not None:
        refs.append(keys.staff_ref(employee, settings, "employee_id_is_staff_id", keys.EMPLOYEE))
    if room is not None:
        refs.append(Ref("room_id", KIND_ROOM, SourceKey(keys.LOCATION, (room,))))
    return (Parsed(KIND_TIMETABLE_ENTRY, key, entry, tuple(refs)),)
