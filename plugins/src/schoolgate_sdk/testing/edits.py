"""Edits of a world. Each checks everything first, then changes everything that belongs together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from schoolgate_sdk.testing import names
from schoolgate_sdk.testing.build import taken_before
from schoolgate_sdk.testing.conduct import extend_conduct
from schoolgate_sdk.testing.entities import Enrolment, Membership, Pupil, Session, StaffAssignment
from schoolgate_sdk.testing.errors import EditRefused
from schoolgate_sdk.testing.marks import draw_register
from schoolgate_sdk.testing.people import add_contacts, draw_pupil
from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.registers import BYTE_OF
from schoolgate_sdk.testing.staffing import teachers_of
from schoolgate_sdk.testing.state import WorldState, covers, rewrite
from schoolgate_sdk.testing.timetable import deal_timetable
from schoolgate_sdk.testing.upn import is_valid_upn


def join(
    state: WorldState, *, on: date | None, year_group: str | None, forename: str | None, surname: str | None
) -> Pupil:
    """See ``World.join``."""
    first = _within_year(state, "join", on)
    year_group = next(iter(state.year_groups)) if year_group is None else year_group
    if year_group not in state.year_groups:
        raise EditRefused("join", "year_group", f"must be one of: {', '.join(state.year_groups)}")
    _refuse_blank("join", {"forename": forename, "surname": surname})
    state.revision += 1
    number = state.take_number("pupil")
    random = stream(state.seed, "join", number)
    year_of_study = state.year_groups[year_group]
    drawn = draw_pupil(state, random, number, year_of_study, surname or names.surname(random))
    pupil = replace(
        drawn,
        person_number=state.take_number("person"),
        forename=forename or drawn.forename,
        preferred_forename=forename or drawn.preferred_forename,
        surname=surname or drawn.surname,
        preferred_surname=surname or drawn.preferred_surname,
        year_group=year_group,
    )
    state.pupils[number] = pupil
    known = set(state.contacts)
    add_contacts(state, random, [number])
    for contact in [contact for contact in state.contacts if contact not in known]:
        state.contacts[contact] = replace(state.contacts[contact], person_number=state.take_number("person"))
    _enrol(state, pupil, first)
    return pupil


def leave(state: WorldState, pupil: int, on: date | None) -> None:
    """See ``World.leave``."""
    _pupil(state, "leave", pupil)
    last = _within_year(state, "leave", on)
    current = [held for held in state.enrolments.values() if held.pupil == pupil and covers(held, last)]
    if not any(held.valid_from < last for held in current):
        raise EditRefused("leave", "on", "the pupil is not on roll on the day before")
    state.revision += 1

    def end_enrolment(key: tuple[int, date], held: Enrolment) -> tuple[tuple[int, date], Enrolment] | None:
        if held.pupil != pupil or not _reaches(held.valid_to, last):
            return key, held
        return None if held.valid_from >= last else (key, held._replace(valid_to=last))

    def end_membership(
        key: tuple[int, int, date], held: Membership
    ) -> tuple[tuple[int, int, date], Membership] | None:
        if held.pupil != pupil or not _reaches(held.valid_to, last):
            return key, held
        return None if held.valid_from >= last else (key, held._replace(valid_to=last))

    rewrite(state.enrolments, end_enrolment)
    rewrite(state.memberships, end_membership)
    register = state.registers.of[pupil]
    register.clear(state.year.index_from(last), len(register.codes))
    for mark in [mark for mark in state.lesson_marks.values() if mark.pupil == pupil and mark.date >= last]:
        del state.lesson_marks[mark[:3]]


def rejoin(state: WorldState, pupil: int, on: date | None) -> None:
    """See ``World.rejoin``."""
    returning = _pupil(state, "rejoin", pupil)
    first = _within_year(state, "rejoin", on)
    if any(held.pupil == pupil and _reaches(held.valid_to, first) for held in state.enrolments.values()):
        raise EditRefused("rejoin", "on", "the pupil is on roll then or later")
    state.revision += 1
    _enrol(state, returning, first)


def rename(state: WorldState, pupil: int, changed: Mapping[str, str | None]) -> Pupil:
    """See ``World.rename``."""
    known = _pupil(state, "rename", pupil)
    given = {field: name for field, name in changed.items() if name is not None}
    if not given:
        raise EditRefused("rename", "forename", "at least one name must be given")
    _refuse_blank("rename", given)
    state.revision += 1
    renamed = replace(
        known,
        forename=given.get("forename", known.forename),
        surname=given.get("surname", known.surname),
        middle_names=given.get("middle_names", known.middle_names),
        preferred_forename=given.get("preferred_forename", known.preferred_forename),
        preferred_surname=given.get("preferred_surname", known.preferred_surname),
    )
    state.pupils[pupil] = renamed
    return renamed


def change_upn(state: WorldState, pupil: int, upn: str) -> Pupil:
    """See ``World.change_upn``."""
    known = _pupil(state, "change_upn", pupil)
    if not is_valid_upn(upn):
        raise EditRefused("change_upn", "upn", "is not a UPN, or its check letter is wrong")
    state.revision += 1
    state.pupils[pupil] = replace(known, upn=upn)
    return state.pupils[pupil]


def move_group(state: WorldState, pupil: int, from_group: int, to_group: int, on: date | None) -> None:
    """See ``World.move_group``."""
    _pupil(state, "move_group", pupil)
    moved = _within_year(state, "move_group", on)
    for field, number in (("from_group", from_group), ("to_group", to_group)):
        if number not in state.groups:
            raise EditRefused("move_group", field, f"there is no group {number}")
    source, target = state.groups[from_group], state.groups[to_group]
    if source.type_code != target.type_code:
        raise EditRefused("move_group", "to_group", f"is no {source.type_code}")
    if target.valid_from > moved or not _reaches(target.valid_to, moved):
        raise EditRefused("move_group", "to_group", "does not exist on that day")
    held = [m for m in state.memberships.values() if m.pupil == pupil and m.group == from_group]
    held = [membership for membership in held if covers(membership, moved)]
    if not held:
        raise EditRefused("move_group", "from_group", "the pupil is not in that group on that day")
    if any(
        m.pupil == pupil and m.group == to_group and _reaches(m.valid_to, moved)
        for m in state.memberships.values()
    ):
        raise EditRefused("move_group", "to_group", "the pupil is in that group then or later")
    state.revision += 1
    for membership in held:
        if membership.valid_from == moved:
            del state.memberships[membership[:3]]
        else:
            state.add_membership(membership._replace(valid_to=moved))
    state.add_membership(Membership(to_group, pupil, moved, held[0].valid_to))


def correct_mark(
    state: WorldState, pupil: int, day: date, session: Session, code: str, comment: str | None
) -> None:
    """See ``World.correct_mark``."""
    _pupil(state, "correct_mark", pupil)
    index = state.year.index_of(day, session)
    if index is None:
        raise EditRefused("correct_mark", "date", "is no school day")
    register = state.registers.of[pupil]
    if index >= state.registers.taken or not register.codes[index]:
        raise EditRefused("correct_mark", "date", "the pupil has no mark in that session")
    if code not in BYTE_OF:
        raise EditRefused("correct_mark", "code", "is no attendance code")
    state.revision += 1
    register.clear(index, index + 1)
    register.codes[index] = BYTE_OF[code]
    if comment is not None:
        register.comments[index] = comment


def rebuild_timetable(state: WorldState, on: date | None) -> None:
    """See ``World.rebuild_timetable``."""
    first = _within_year(state, "rebuild_timetable", on)
    if not state.blocks:
        raise EditRefused("rebuild_timetable", "on", "this school has no timetable")
    state.revision += 1
    generation = state.take_number("timetable")
    for entry in list(state.timetable.values()):
        if entry.valid_from >= first:
            del state.timetable[entry.number]
        elif _reaches(entry.valid_to, first):
            state.timetable[entry.number] = replace(entry, valid_to=first)
    _change_teachers(state, generation, first)
    deal_timetable(state, generation, first)


def _change_teachers(state: WorldState, generation: int, on: date) -> None:
    """Let about every fifth class have a main teacher from ``on`` who has not been that before."""
    random = stream(state.seed, "teachers", generation)
    main = [held for held in state.assignments.values() if held.role_code == "Main Teacher"]
    had: dict[int, set[int]] = {}
    for held in main:
        had.setdefault(held.group, set()).add(held.staff)
    for held in main:
        subject = state.groups[held.group].subject or ""
        new = [one for one in teachers_of(state, subject) if one not in had[held.group]]
        if not covers(held, on) or not new or not chance(random, 0.2):
            continue
        if held.valid_from == on:
            del state.assignments[held[:4]]
        else:
            state.add_assignment(held._replace(valid_to=on))
        state.add_assignment(
            StaffAssignment(held.group, random.choice(new), "Main Teacher", on, held.valid_to)
        )


def advance(state: WorldState, to: date) -> None:
    """See ``World.advance``."""
    taken = taken_before(state.year, to)
    if taken < state.registers.taken:
        raise EditRefused("advance", "to", "registers of that day are taken already")
    state.revision += 1
    before = state.registers.taken
    state.registers.taken = taken
    extend_conduct(state, before)


def _enrol(state: WorldState, pupil: Pupil, first: date) -> None:
    """Register a pupil from ``first``: enrolment, the groups of somebody of the year, marks."""
    state.add_enrolment(Enrolment(pupil.number, first, "C", pupil.year_group))
    for group in _groups_for(state, pupil, first):
        state.add_membership(Membership(group, pupil.number, first, state.groups[group].valid_to))
    label = f"{pupil.number}/{first.isoformat()}"
    drawn = draw_register(state.seed, label, state.year, pupil.national_curriculum_year)
    drawn.clear(0, state.year.index_from(first))
    earlier = state.registers.of.get(pupil.number)
    if earlier is not None:
        drawn.fill_from(earlier)
    state.registers.of[pupil.number] = drawn


def _groups_for(state: WorldState, pupil: Pupil, on: date) -> list[int]:
    """Return the groups, clubs apart, of a random pupil of the same year group and of the school's own."""
    by_pupil: dict[int, list[int]] = {}
    tutored: set[int] = set()
    for membership in state.memberships.values():
        group = state.groups[membership.group]
        mate = state.pupils[membership.pupil]
        same_year = mate.year_group == pupil.year_group and mate.number != pupil.number
        if same_year and group.type_code != "OTHER" and covers(membership, on):
            by_pupil.setdefault(mate.number, []).append(group.number)
            if group.type_code == "TUTORGRP":
                tutored.add(mate.number)
    mates = sorted(tutored) or sorted(by_pupil)
    if mates:
        return by_pupil[stream(state.seed, "mate", pupil.number, on.isoformat()).choice(mates)]
    first_of_type: dict[str, int] = {}
    for group in state.groups.values():
        if group.type_code == "YEARGRP" and group.name != pupil.year_group:
            continue
        year = f"{pupil.national_curriculum_year}"
        if group.type_code == "TUTORGRP" and group.name.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != year:
            continue
        if group.type_code in {"YEARGRP", "TUTORGRP", "HOUSE"}:
            first_of_type.setdefault(group.type_code, group.number)
    return list(first_of_type.values())


def _pupil(state: WorldState, op: str, number: int, field: str = "pupil") -> Pupil:
    if number not in state.pupils:
        raise EditRefused(op, field, f"there is no pupil {number}")
    return state.pupils[number]


def _within_year(state: WorldState, op: str, on: date | None) -> date:
    """Return ``on`` or today, a day on which this year's groups may begin or end."""
    day = state.today if on is None else on
    if not state.year.valid_from <= day < state.year.valid_to:
        raise EditRefused(op, "on", "is not in the academic year")
    return day


def _reaches(valid_to: date | None, day: date) -> bool:
    """Say whether a span with this end lasts beyond ``day``'s beginning."""
    return valid_to is None or valid_to > day


def _refuse_blank(op: str, given: Mapping[str, str | None]) -> None:
    for field, name in given.items():
        if name is not None and not name.strip():
            raise EditRefused(op, field, "must not be blank")
