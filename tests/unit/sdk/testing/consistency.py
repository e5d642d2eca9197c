"""What must hold in every world, whatever was done to it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date

from schoolgate_sdk.testing.entities import Enrolment, Membership, StaffAssignment, TimetableEntry
from schoolgate_sdk.testing.state import Span, overlap, subtract
from schoolgate_sdk.testing.upn import is_valid_uln, is_valid_upn
from schoolgate_sdk.testing.world import World

ONE_AT_A_TIME = {"TUTORGRP", "HOUSE", "YEARGRP"}


def digest(world: World) -> str:
    """Return a hash of everything that the world says of itself."""
    hashed = hashlib.sha256()
    for truth in world.canonical():
        body = truth.message.SerializeToString(deterministic=True)
        hashed.update(repr((truth.kind, truth.key, body, truth.refs)).encode())
    hashed.update(repr(_person_numbers(world)).encode())
    hashed.update(repr((sorted(world.merged.items()), world.today, world.school, world.year)).encode())
    return hashed.hexdigest()


def check(world: World) -> None:
    """Raise ``AssertionError`` with the first things that do not fit together."""
    problems = [*_numbers(world), *_links(world), *_spans(world), *_marks(world), *_timetable(world)]
    assert not problems, problems[:5]


def _person_numbers(world: World) -> list[int]:
    return [
        *(pupil.person_number for pupil in world.pupils.values()),
        *(member.person_number for member in world.staff.values()),
        *(contact.person_number for contact in world.contacts.values()),
    ]


def _numbers(world: World) -> Iterator[str]:
    for name in (
        *("pupils", "staff", "contacts", "groups", "rooms", "periods", "timetable"),
        *("behaviour_types", "behaviour", "assessments"),
    ):
        for number, entity in getattr(world, name).items():
            if entity.number != number:
                yield f"{name} {number} is filed under another number"
    persons = _person_numbers(world)
    if len(set(persons)) != len(persons) or min(persons) < 1:
        yield "person numbers are missing or repeated"
    for pupil in world.pupils.values():
        if pupil.upn is not None and not is_valid_upn(pupil.upn):
            yield f"pupil {pupil.number}: UPN"
        if pupil.uln is not None and not is_valid_uln(pupil.uln):
            yield f"pupil {pupil.number}: ULN"
    gone = world.merged.keys() & world.pupils.keys()
    if gone or not set(world.merged.values()) <= world.pupils.keys():
        yield "merged pupils are still there, or their survivors are not"


def _links(world: World) -> Iterator[str]:
    known = {
        "pupil": world.pupils.keys(),
        "contact": world.contacts.keys(),
        "group": world.groups.keys(),
        "staff": world.staff.keys(),
        "period": world.periods.keys(),
        "room": world.rooms.keys(),
        "event_type": world.behaviour_types.keys(),
        "subject": world.subjects.keys(),
    }
    everything: Iterable[object] = (
        *world.contact_links.values(),
        *world.memberships.values(),
        *world.assignments.values(),
        *world.enrolments.values(),
        *world.timetable.values(),
        *world.behaviour.values(),
        *world.assessments.values(),
        *world.lesson_marks.values(),
    )
    for entity in everything:
        for field, numbers in known.items():
            number = getattr(entity, field, None)
            if number is not None and number not in numbers:
                yield f"{type(entity).__name__} refers to {field} {number}"
    linked = {link.contact for link in world.contact_links.values()}
    if linked != set(world.contacts):
        yield "contacts of nobody"
    results = [(r.pupil, r.assessment, r.subject, r.term) for r in world.assessments.values()]
    if len(set(results)) != len(results):
        yield "two results in one place"
    if not set(world.withheld) <= world.pupils.keys():
        yield "consent of nobody"
    for key, membership in world.memberships.items():
        if key != (membership.group, membership.pupil, membership.valid_from):
            yield f"membership {key} is filed under another key"


def _spans(world: World) -> Iterator[str]:
    dated: tuple[Membership | StaffAssignment | Enrolment | TimetableEntry, ...] = (
        *world.memberships.values(),
        *world.assignments.values(),
        *world.enrolments.values(),
        *world.timetable.values(),
    )
    for entity in dated:
        if entity.valid_to is not None and entity.valid_to <= entity.valid_from:
            yield f"{entity} ends before it begins"
    on_roll = _on_roll(world)
    places: defaultdict[tuple[int, str, int], list[Span]] = defaultdict(list)
    for membership in world.memberships.values():
        span = (membership.valid_from, membership.valid_to)
        group = world.groups[membership.group]
        if subtract(span, [(group.valid_from, group.valid_to)]):
            yield f"{membership} outlives its group"
        if subtract(span, on_roll[membership.pupil]):
            yield f"{membership} of a pupil not on roll"
        single = group.type_code in ONE_AT_A_TIME
        places[membership.pupil, group.type_code, 0 if single else group.number].append(span)
    for place, spans in places.items():
        if any(overlap(one, other) for i, one in enumerate(spans) for other in spans[:i]):
            yield f"pupil, type, group {place}: twice at a time"


def _on_roll(world: World) -> dict[int, list[Span]]:
    spans: defaultdict[int, list[Span]] = defaultdict(list)
    for enrolment in world.enrolments.values():
        spans[enrolment.pupil].append((enrolment.valid_from, enrolment.valid_to))
    return spans


def _marks(world: World) -> Iterator[str]:
    """Every session of a pupil on roll has a mark once it is taken, and no other session has one."""
    on_roll = _on_roll(world)
    past = [day for day in world.year.days if day < world.today] if world.count_marks() else []
    if world.today == world.year.days[-1] and world.count_marks(world.today):
        past.append(world.today)
    marked: defaultdict[int, list[tuple[date, str]]] = defaultdict(list)
    for mark in world.marks():
        marked[mark.pupil].append((mark.date, mark.session))
    if not marked.keys() <= world.pupils.keys():
        yield "marks of nobody"
    for pupil in world.pupils:
        expected = [
            (day, session)
            for day in past
            if any(begin <= day and (end is None or day < end) for begin, end in on_roll[pupil])
            for session in ("AM", "PM")
        ]
        if marked[pupil] != expected:
            yield f"pupil {pupil} has {len(marked[pupil])} marks instead of {len(expected)}"


def _timetable(world: World) -> Iterator[str]:
    """Nobody and no room is needed twice at a time, on any first day of an entry."""
    for day in sorted({entry.valid_from for entry in world.timetable.values()}):
        busy: set[tuple[str, int, int]] = set()
        for entry in world.timetable.values():
            if entry.valid_from > day or (entry.valid_to is not None and entry.valid_to <= day):
                continue
            for what, number in (("group", entry.group), ("staff", entry.staff), ("room", entry.room)):
                if number is None:
                    continue
                if (what, number, entry.period) in busy:
                    yield f"{what} {number} is needed twice in period {entry.period}"
                busy.add((what, number, entry.period))
