"""A world's entities as rows of Wonde's resources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from schoolgate_sdk.testing.attendance_codes import CURRENT_CODES, RETIRED_CODES
from schoolgate_sdk.testing.entities import Group, Pupil, TimetableEntry
from schoolgate_sdk.testing.world import World
from schoolgate_wonde.simulator.ids import (
    code_id,
    day_object,
    number_id,
    time_object,
    upi_of,
)

_GENDERS: Final = {"M": "MALE", "F": "FEMALE"}
_LESSONS_AHEAD: Final = timedelta(days=5)


class Entity(NamedTuple):
    """One row. ``nested`` is shown where ``include`` asks for it; of it, only what ``own`` names is the
    row's own, so that a change of it is one of the row.
    """

    base: dict[str, Any]
    nested: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default, never changed
    own: frozenset[str] = frozenset()


def _data(value: object) -> dict[str, object]:
    return {"data": value}


def _email(address: str | None) -> dict[str, object]:
    return {"emails": {"email": address}}


def shown_pupils(world: World) -> dict[int, Pupil]:
    """Return the pupils of the resource ``students``: who has left by today stands elsewhere."""
    there = {
        held.pupil
        for held in world.enrolments.values()
        if held.valid_to is None or held.valid_to > world.today
    }
    return {
        number: pupil
        for number, pupil in world.pupils.items()
        if number in there and number not in world.withheld
    }


def _students(world: World) -> Iterator[Entity]:
    links: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for link in world.contact_links.values():
        contact = _contact_base(world, link.contact)
        relationship = {
            "bill_payer": None,
            "lives_with_pupil": link.lives_with,
            "court_order": link.court_order,
            "pupil_report": None,
            "parental_responsibility": link.parental_responsibility,
            "correspondence": link.correspondence,
            "priority": link.priority,
            "relationship": link.relationship_code,
        }
        links[link.pupil].append({**contact, "relationship": relationship})
    classes: dict[int, set[str]] = defaultdict(set)
    for held in world.memberships.values():
        now = _holds(held.valid_from, held.valid_to, world.today)
        if now and group_resource(world.groups[held.group]) == "classes":
            classes[held.pupil].add(number_id("classes", held.group))
    for number, pupil in shown_pupils(world).items():
        base = {
            "id": number_id("students", number),
            "upi": upi_of(pupil.person_number),
            "mis_id": str(number),
            "surname": pupil.preferred_surname or pupil.surname,
            "forename": pupil.preferred_forename or pupil.forename,
            "middle_names": pupil.middle_names,
            "legal_surname": pupil.surname,
            "legal_forename": pupil.forename,
            "gender": _GENDERS.get(pupil.sex_code or ""),
            "date_of_birth": day_object(pupil.date_of_birth),
        }
        nested = {
            "education_details": _data(
                {
                    "upn": pupil.upn,
                    "uln": pupil.uln,
                    "admission_number": pupil.admission_number,
                    "current_nc_year": pupil.national_curriculum_year,
                }
            ),
            "contact_details": _data(_email(pupil.email)),
            "year": _data({"code": pupil.year_group}),
            "contacts": _data(links[number]),
            "classes": _data([{"id": found} for found in sorted(classes[number])]),
        }
        yield Entity(base, nested, frozenset(nested) - {"contacts", "classes"})


def _contact_base(world: World, number: int) -> dict[str, Any]:
    contact = world.contacts[number]
    return {
        "id": number_id("contacts", number),
        "upi": upi_of(contact.person_number),
        "mis_id": str(number),
        "title": contact.title,
        "surname": contact.surname,
        "forename": contact.forename,
    }


def _contacts(world: World) -> Iterator[Entity]:
    shown = {link.contact for link in world.contact_links.values() if link.pupil not in world.withheld}
    for number, contact in world.contacts.items():
        if number in shown:
            details = {**_email(contact.email), "phones": {"phone": contact.telephone}}
            nested = {"contact_details": _data(details)}
            yield Entity(_contact_base(world, number), nested, frozenset(nested))


def _employees(world: World) -> Iterator[Entity]:
    for number, member in world.staff.items():
        base = {
            "id": number_id("employees", number),
            "upi": upi_of(member.person_number),
            "mis_id": str(number),
            "title": member.title,
            "surname": member.surname,
            "forename": member.forename,
            "middle_names": member.middle_names,
        }
        nested = {"contact_details": _data(_email(member.email))}
        yield Entity(base, nested, frozenset(nested))


def group_resource(group: Group) -> str:
    """Return the resource in which a group stands."""
    return "classes" if group.type_code == "CLASS" else "groups"


def _groups_of(resource: str) -> Callable[[World], Iterator[Entity]]:
    def build(world: World) -> Iterator[Entity]:
        today, shown = world.today, shown_pupils(world)
        students: dict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
        employees: dict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
        for held in world.memberships.values():
            if held.pupil in shown and _holds(held.valid_from, held.valid_to, today):
                found = number_id("students", held.pupil)
                students[held.group][found] = {"id": found}
        for role in world.assignments.values():
            if _holds(role.valid_from, role.valid_to, today):
                found = number_id("employees", role.staff)
                employees[role.group][found] = {"id": found}
        for number, group in world.groups.items():
            if group_resource(group) != resource:
                continue
            base: dict[str, Any] = {
                "id": number_id(resource, number),
                "mis_id": str(number),
                "name": group.name,
                "description": group.description,
            }
            if resource == "classes":
                base["subject_id"] = code_id("subjects", group.subject) if group.subject else None
            else:
                base["type"] = group.type_code
            nested = {
                "students": _data(list(students[number].values())),
                "employees": _data(list(employees[number].values())),
            }
            yield Entity(base, nested)

    return build


def _holds(first: date, end: date | None, today: date) -> bool:
    return first <= today and (end is None or today < end)


def _subjects(world: World) -> Iterator[Entity]:
    for subject in world.subjects.values():
        yield Entity(
            {
                "id": code_id("subjects", subject.code),
                "mis_id": subject.code,
                "code": subject.code,
                "name": subject.name,
            }
        )


def _rooms(world: World) -> Iterator[Entity]:
    for number, room in world.rooms.items():
        yield Entity(
            {"id": number_id("rooms", number), "mis_id": str(number), "code": room.code, "name": room.name}
        )


def _periods(world: World) -> Iterator[Entity]:
    for number, period in world.periods.items():
        base = {
            "id": number_id("periods", number),
            "mis_id": str(number),
            "name": period.name,
            "day_number": period.weekday,
            "start_time": f"{period.starts:%H:%M:%S}",
            "end_time": f"{period.ends:%H:%M:%S}",
        }
        yield Entity(base)


def lesson_days(world: World) -> list[tuple[date, int]]:
    """Return the school days that have lessons to be shown, each with its week of the cycle (1 or 2).

    They reach from the first day to a few days from today; weeks are counted from the year's first Monday.
    """
    days = world.year.days
    if not days:
        return []
    monday = days[0] - timedelta(days=days[0].weekday())
    end = world.today + _LESSONS_AHEAD
    return [(day, (day - monday).days // 7 % 2 + 1) for day in days if day < end]


def lesson_id(entry: int, day: date) -> str:
    """Return the id of an entry's lesson on a day."""
    return f"A4{entry:06d}{day:%Y%m%d}"


def lesson_of(world: World, given: object) -> tuple[TimetableEntry, date] | None:
    """Return the entry and the day of a lesson that is shown, by its id."""
    for entry in world.timetable.values():
        for day, _ in lesson_days(world) if str(given).startswith(f"A4{entry.number:06d}") else ():
            if given == lesson_id(entry.number, day):
                return entry, day
    return None


def _lessons(world: World) -> Iterator[Entity]:
    slots: dict[tuple[int, int], list[TimetableEntry]] = defaultdict(list)
    for entry in world.timetable.values():
        period = world.periods[entry.period]
        slots[period.week, period.weekday].append(entry)
    for day, week in lesson_days(world):
        for entry in slots.get((week, day.isoweekday()), ()):
            if not _holds(entry.valid_from, entry.valid_to, day):
                continue
            period = world.periods[entry.period]
            base = {
                "id": lesson_id(entry.number, day),
                "start_at": time_object(datetime.combine(day, period.starts)),
                "class_id": number_id("classes", entry.group),
                "period_id": number_id("periods", entry.period),
                "employee_id": None if entry.staff is None else number_id("employees", entry.staff),
                "room_id": None if entry.room is None else number_id("rooms", entry.room),
            }
            yield Entity(base)


def _attendance_codes(_world: World) -> Iterator[Entity]:
    for code, description in {**CURRENT_CODES, **RETIRED_CODES}.items():
        yield Entity({"id": code_id("attendance-codes", code), "code": code, "description": description})


def _mark(pupil: int, code: str, comment: str | None) -> dict[str, Any]:
    return {
        "student_id": number_id("students", pupil),
        "attendance_code_id": code_id("attendance-codes", code),
        "comment": comment,
        "minutes_late": None,
    }


_ATTENDANCE_CODE: Final = "attendance_code"


def _session_marks(world: World) -> Iterator[Entity]:
    shown = world.pupils.keys() - set(world.withheld) if world.withheld else None
    codes = {code: _data({"code": code}) for code in {**CURRENT_CODES, **RETIRED_CODES}}
    own = frozenset({_ATTENDANCE_CODE})
    for mark in world.marks(pupils=shown):
        half = 1 if mark.session == "AM" else 2
        base = {
            "id": f"A5{mark.pupil:06d}{mark.date:%Y%m%d}{half}",
            "date": day_object(mark.date),
            "session": mark.session,
            **_mark(mark.pupil, mark.code, mark.comment),
        }
        yield Entity(base, {_ATTENDANCE_CODE: codes[mark.code]}, own)


def _lesson_marks(world: World) -> Iterator[Entity]:
    for mark in world.lesson_marks.values():
        if mark.pupil in world.withheld:
            continue
        period = world.periods[mark.period]
        lesson = {
            "start_at": time_object(datetime.combine(mark.date, period.starts)),
            "period": _data({"name": period.name}),
        }
        base = {
            "id": f"A6{mark.pupil:06d}{mark.date:%Y%m%d}{mark.period:03d}",
            **_mark(mark.pupil, mark.code, mark.comment),
        }
        nested = {_ATTENDANCE_CODE: _data({"code": mark.code}), "lesson": _data(lesson)}
        yield Entity(base, nested, frozenset(nested))


def conduct(world: World, resource: str, stands_in: Mapping[int, str]) -> Iterator[Entity]:
    """Yield behaviours or achievements; ``stands_in`` says which of the two an event is."""
    for number, event in world.behaviour.items():
        if event.pupil in world.withheld or stands_in[number] != resource:
            continue
        base = {
            "id": number_id(resource, number),
            "mis_id": str(number),
            "student_id": number_id("students", event.pupil),
            "type": str(event.event_type),
            "points": event.points,
            "comment": event.comment,
            "date": time_object(event.occurred_at),
            "employee_id": None if event.staff is None else number_id("employees", event.staff),
        }
        yield Entity(base)


Builder: TypeAlias = Callable[[World], Iterator[Entity]]

RESOURCES: Final[Mapping[str, Builder]] = {
    "students": _students,
    "employees": _employees,
    "contacts": _contacts,
    "subjects": _subjects,
    "rooms": _rooms,
    "periods": _periods,
    "classes": _groups_of("classes"),
    "groups": _groups_of("groups"),
    "lessons": _lessons,
    "attendance-codes": _attendance_codes,
    "attendance/session": _session_marks,
    "attendance/lesson": _lesson_marks,
}
CONDUCT: Final = ("behaviours", "achievements")
INCLUDES: Final = (
    "education_details",
    "contact_details",
    "year",
    "attendance_code",
    "lesson",
    "lesson.period",
)
"""What nests and is no resource of its own."""
