"""Edits of what is recorded about pupils: contacts, behaviour, results, marks, and consent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from schoolgate_sdk.testing.conduct import add_result, unique_by
from schoolgate_sdk.testing.entities import (
    AssessmentResult,
    BehaviourEvent,
    Contact,
    ContactLink,
    LessonMark,
    Session,
)
from schoolgate_sdk.testing.errors import EditRefused
from schoolgate_sdk.testing.registers import BYTE_OF
from schoolgate_sdk.testing.state import WorldState, covers


def add_contact(
    state: WorldState, pupil: int, relationship_code: str, known: Mapping[str, str | None]
) -> Contact:
    """See ``World.add_contact``; ``known`` holds the contact's own values, a surname among them."""
    _pupil(state, "add_contact", pupil)
    surname = known.get("surname") or ""
    for name, value in (("relationship_code", relationship_code), ("surname", surname)):
        if not value.strip():
            raise EditRefused("add_contact", name, "must not be blank")
    state.revision += 1
    number, person = state.take_number("contact"), state.take_number("person")
    others = {name: known.get(name) for name in ("title", "forename", "email", "telephone")}
    state.contacts[number] = Contact(number, person, surname, **others)
    state.contact_links[pupil, number] = ContactLink(pupil, number, relationship_code)
    return state.contacts[number]


def change_contact(state: WorldState, contact: int, changed: Mapping[str, str | None]) -> Contact:
    """See ``World.change_contact``."""
    known = state.contacts.get(contact)
    if known is None:
        raise EditRefused("change_contact", "contact", f"there is no contact {contact}")
    given: dict[str, Any] = {name: value for name, value in changed.items() if value is not None}
    _refuse_nothing("change_contact", "surname", given)
    state.revision += 1
    state.contacts[contact] = replace(known, **given)
    return state.contacts[contact]


def link_contact(state: WorldState, pupil: int, contact: int, given: Mapping[str, Any]) -> ContactLink:
    """See ``World.link_contact``."""
    _pupil(state, "link_contact", pupil)
    if contact not in state.contacts:
        raise EditRefused("link_contact", "contact", f"there is no contact {contact}")
    changed = {name: value for name, value in given.items() if value is not None}
    link = state.contact_links.get((pupil, contact))
    if link is None and "relationship_code" not in changed:
        raise EditRefused("link_contact", "relationship_code", "is needed for a new link")
    _refuse_nothing("link_contact", "relationship_code", changed)
    _in_32_bits("link_contact", "priority", changed.get("priority"))
    state.revision += 1
    begun = link or ContactLink(pupil, contact, "")
    state.contact_links[pupil, contact] = replace(begun, **changed)
    return state.contact_links[pupil, contact]


def unlink_contact(state: WorldState, pupil: int, contact: int) -> None:
    """See ``World.unlink_contact``."""
    if (pupil, contact) not in state.contact_links:
        raise EditRefused("unlink_contact", "contact", "is none of that pupil's")
    state.revision += 1
    del state.contact_links[pupil, contact]
    if not any(link.contact == contact for link in state.contact_links.values()):
        del state.contacts[contact]


def record_behaviour(
    state: WorldState, pupil: int, event_type: int, occurred_at: datetime, given: Mapping[str, Any]
) -> BehaviourEvent:
    """See ``World.record_behaviour``."""
    _pupil(state, "record_behaviour", pupil)
    kind = state.behaviour_types.get(event_type)
    if kind is None:
        raise EditRefused("record_behaviour", "event_type", f"there is no type {event_type}")
    for name, known in (("staff", state.staff), ("group", state.groups), ("room", state.rooms)):
        if given.get(name) is not None and given[name] not in known:
            raise EditRefused("record_behaviour", name, f"there is no {name} {given[name]}")
    _in_32_bits("record_behaviour", "points", given.get("points"))
    state.revision += 1
    number = state.take_number("behaviour")
    points = kind.points if given.get("points") is None else given["points"]
    event = BehaviourEvent(number, pupil, event_type, occurred_at, points)
    others = {name: value for name, value in given.items() if name != "points"}
    state.behaviour[number] = replace(event, **others)
    return state.behaviour[number]


def correct_behaviour(
    state: WorldState, event: int, points: int | None, comment: str | None
) -> BehaviourEvent:
    """See ``World.correct_behaviour``."""
    known = state.behaviour.get(event)
    if known is None:
        raise EditRefused("correct_behaviour", "event", f"there is no event {event}")
    if points is None and comment is None:
        raise EditRefused("correct_behaviour", "points", "points or a comment must be given")
    _in_32_bits("correct_behaviour", "points", points)
    state.revision += 1
    state.behaviour[event] = replace(
        known,
        points=known.points if points is None else points,
        comment=known.comment if comment is None else comment,
    )
    return state.behaviour[event]


def delete_behaviour(state: WorldState, event: int) -> None:
    """See ``World.delete_behaviour``."""
    if event not in state.behaviour:
        raise EditRefused("delete_behaviour", "event", f"there is no event {event}")
    state.revision += 1
    del state.behaviour[event]


def record_result(
    state: WorldState, pupil: int, assessment: str, result: str, given: Mapping[str, Any]
) -> AssessmentResult:
    """See ``World.record_result``."""
    _pupil(state, "record_result", pupil)
    for name, value in (("assessment", assessment), ("result", result)):
        if not value.strip():
            raise EditRefused("record_result", name, "must not be blank")
    subject = given.get("subject")
    if subject is not None and subject not in state.subjects:
        raise EditRefused("record_result", "subject", "there is no subject of that code")
    term = given.get("term")
    place = (pupil, assessment, subject, term)
    state.revision += 1
    entered_on: date = given.get("entered_on") or state.today
    for number, known in state.assessments.items():
        if unique_by(known) == place:
            state.assessments[number] = replace(known, result=result, entered_on=entered_on)
            return state.assessments[number]
    return add_result(
        state,
        pupil=pupil,
        assessment=assessment,
        result=result,
        entered_on=entered_on,
        subject=subject,
        term=term,
        is_grade=given.get("is_grade"),
    )


def record_mark(
    state: WorldState,
    pupil: int,
    day: date,
    code: str,
    session: Session | None,
    period: int | None,
    comment: str | None,
) -> None:
    """See ``World.record_mark``."""
    _pupil(state, "record_mark", pupil)
    if (session is None) == (period is None):
        raise EditRefused("record_mark", "session", "a session or a period must be given, and not both")
    if code not in BYTE_OF:
        raise EditRefused("record_mark", "code", "is no attendance code")
    index = state.year.index_of(day, session or "AM")
    if index is None or index >= state.registers.taken:
        raise EditRefused("record_mark", "date", "is no school day whose registers are taken")
    if not any(held.pupil == pupil and covers(held, day) for held in state.enrolments.values()):
        raise EditRefused("record_mark", "pupil", "is not on roll on that day")
    if period is not None:
        slot = state.periods.get(period)
        if slot is None or slot.type_code != "PERIOD" or slot.weekday != day.isoweekday():
            raise EditRefused("record_mark", "period", "is no lesson's period of that day of the week")
        state.revision += 1
        state.lesson_marks[pupil, day, period] = LessonMark(pupil, day, period, code, comment)
        return
    state.revision += 1
    register = state.registers.of[pupil]
    register.clear(index, index + 1)
    register.codes[index] = BYTE_OF[code]
    if comment is not None:
        register.comments[index] = comment


def withdraw_consent(state: WorldState, pupil: int) -> None:
    """See ``World.withdraw_consent``."""
    _pupil(state, "withdraw_consent", pupil)
    if pupil in state.withheld:
        raise EditRefused("withdraw_consent", "pupil", "has no consent to withdraw")
    state.revision += 1
    state.withheld.add(pupil)


def grant_consent(state: WorldState, pupil: int) -> None:
    """See ``World.grant_consent``."""
    _pupil(state, "grant_consent", pupil)
    if pupil not in state.withheld:
        raise EditRefused("grant_consent", "pupil", "has consent already")
    state.revision += 1
    state.withheld.remove(pupil)


def _in_32_bits(op: str, name: str, value: int | None) -> None:
    if value is not None and not -(2**31) <= value < 2**31:
        raise EditRefused(op, name, "must be within 32 bits, as MISs count")


def _pupil(state: WorldState, op: str, number: int) -> None:
    if number not in state.pupils:
        raise EditRefused(op, "pupil", f"there is no pupil {number}")


def _refuse_nothing(op: str, field: str, given: Mapping[str, Any]) -> None:
    if not given:
        raise EditRefused(op, field, "at least one value must be given")
    for name, value in given.items():
        if isinstance(value, str) and not value.strip():
            raise EditRefused(op, name, "must not be blank")
