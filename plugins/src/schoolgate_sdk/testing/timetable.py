"""The two-week timetable: slots, rooms, and which class meets when, where and with whom."""

from __future__ import annotations

from datetime import date, time
from random import Random

from schoolgate_sdk.testing.entities import Group, Period, Room, TimetableEntry
from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.staffing import teachers_of
from schoolgate_sdk.testing.state import WorldState, covers

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri")
_LESSONS = (
    (time(9, 9), time(10, 9)),
    (time(10, 9), time(11, 9)),
    (time(11, 29), time(12, 29)),
    (time(13, 14), time(14, 14)),
    (time(14, 14), time(15, 14)),
)
_SESSIONS = {"AM": (time(8, 45), time(9, 9)), "PM": (time(13, 9), time(13, 14))}
_PUPILS_PER_ROOM = 16


def add_rooms_and_periods(state: WorldState, pupils: int) -> None:
    """Add rooms in proportion to the pupils, fifty lessons and twenty registration sessions."""
    random = stream(state.seed, "rooms")
    for _ in range(max(6, pupils // _PUPILS_PER_ROOM)):
        number = state.take_number("room")
        code = f"{random.choice('ABEHMST')}{number:03d}"
        state.rooms[number] = Room(number, code, f"Room {code}" if chance(random, 0.8) else None)
    for week in (1, 2):
        for weekday, name in enumerate(_WEEKDAYS, start=1):
            for session, (starts, ends) in _SESSIONS.items():
                number = state.take_number("period")
                state.periods[number] = Period(
                    number, f"{name}{week} {session}", "SESSION", week, weekday, starts, ends
                )
            for lesson, (starts, ends) in enumerate(_LESSONS, start=1):
                number = state.take_number("period")
                state.periods[number] = Period(
                    number, f"{name}{week} P{lesson}", "PERIOD", week, weekday, starts, ends
                )


def deal_timetable(state: WorldState, generation: int, since: date) -> None:
    """Add an entry for every lesson of every class; no pupil, teacher or room is needed twice at a time.

    Entries begin on ``since``. Where no teacher or no room is free, the entry has none.
    """
    random = stream(state.seed, "timetable", generation)
    slots = [period.number for period in state.periods.values() if period.type_code == "PERIOD"]
    teachers = _main_teachers(state, since)
    everybody = [member.number for member in state.staff.values() if member.subject]
    free_rooms = {slot: _shuffled(random, list(state.rooms)) for slot in slots}
    busy: dict[int, set[int]] = {slot: set() for slot in slots}
    for blocks in state.blocks.values():
        order = iter(_shuffled(random, slots))
        for block in blocks:
            for _, slot in zip(range(block.lessons), order, strict=False):
                for number in block.classes:
                    group = state.groups[number]
                    teacher = _free_teacher(state, group, teachers.get(number), everybody, busy[slot])
                    room = free_rooms[slot].pop() if free_rooms[slot] else None
                    entry = state.take_number("timetable_entry")
                    state.timetable[entry] = TimetableEntry(
                        entry, number, slot, since, staff=teacher, room=room
                    )


def _main_teachers(state: WorldState, on: date) -> dict[int, int]:
    return {
        assignment.group: assignment.staff
        for assignment in state.assignments.values()
        if assignment.role_code == "Main Teacher" and covers(assignment, on)
    }


def _shuffled(random: Random, numbers: list[int]) -> list[int]:
    random.shuffle(numbers)
    return numbers.copy()


def _free_teacher(
    state: WorldState, group: Group, main: int | None, everybody: list[int], busy: set[int]
) -> int | None:
    """Return the class's own teacher, else a colleague of the subject, else anybody free; mark them busy."""
    colleagues = teachers_of(state, group.subject or "")
    candidates = [main] if main is not None else []
    for teacher in (*candidates, *colleagues, *everybody):
        if teacher not in busy:
            busy.add(teacher)
            return teacher
    return None
