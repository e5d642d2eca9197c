"""Edits of who a pupil is to the MIS: merging two numbers into one, and giving a pupil another number."""

from __future__ import annotations

from dataclasses import replace

from schoolgate_sdk.testing.conduct import unique_by
from schoolgate_sdk.testing.entities import Enrolment, Group, Membership, Pupil
from schoolgate_sdk.testing.errors import EditRefused
from schoolgate_sdk.testing.state import Span, WorldState, rewrite, subtract

_LARGEST_NUMBER = 2**31 - 1
"""MISs number in 32 bits."""


def merge(state: WorldState, loser: int, survivor: int) -> None:
    """See ``World.merge``."""
    for field, number in (("loser", loser), ("survivor", survivor)):
        if number not in state.pupils:
            raise EditRefused("merge", field, f"there is no pupil {number}")
    if loser == survivor:
        raise EditRefused("merge", "survivor", "a pupil cannot be merged into itself")
    state.revision += 1
    _merge_enrolments(state, loser, survivor)
    _merge_memberships(state, loser, survivor)
    for link in [link for link in state.contact_links.values() if link.pupil == loser]:
        del state.contact_links[loser, link.contact]
        state.contact_links.setdefault((survivor, link.contact), replace(link, pupil=survivor))
    state.registers.of[survivor].fill_from(state.registers.of.pop(loser))
    _merge_conduct(state, loser, survivor)
    del state.pupils[loser]
    state.withheld.discard(loser)
    for number, into in state.merged.items():
        if into == loser:
            state.merged[number] = survivor
    state.merged[loser] = survivor


def _merge_conduct(state: WorldState, loser: int, survivor: int) -> None:
    """Pass on behaviour, and those results and lesson marks that the survivor has nothing in the place of."""
    taken = {unique_by(result) for result in state.assessments.values() if result.pupil == survivor}
    for number, result in [each for each in state.assessments.items() if each[1].pupil == loser]:
        passed_on = replace(result, pupil=survivor)
        if unique_by(passed_on) in taken:
            del state.assessments[number]
        else:
            state.assessments[number] = passed_on
    for number, event in list(state.behaviour.items()):
        if event.pupil == loser:
            state.behaviour[number] = replace(event, pupil=survivor)
    for mark in [mark for mark in state.lesson_marks.values() if mark.pupil == loser]:
        del state.lesson_marks[mark[:3]]
        passed = mark._replace(pupil=survivor)
        state.lesson_marks.setdefault(passed[:3], passed)


def _merge_enrolments(state: WorldState, loser: int, survivor: int) -> None:
    """Pass the loser's enrolments on for the time in which the survivor was not enrolled."""
    held = [enrolment for enrolment in state.enrolments.values() if enrolment.pupil == survivor]
    taken: list[Span] = [(enrolment.valid_from, enrolment.valid_to) for enrolment in held]
    for enrolment in [each for each in state.enrolments.values() if each.pupil == loser]:
        del state.enrolments[enrolment[:2]]
        for begin, end in subtract((enrolment.valid_from, enrolment.valid_to), taken):
            passed = Enrolment(survivor, begin, enrolment.status_code, enrolment.year_group, end)
            state.enrolments.setdefault(passed[:2], passed)


def _merge_memberships(state: WorldState, loser: int, survivor: int) -> None:
    """Pass the loser's memberships on for the time in which the survivor had nothing in their place."""
    taken: dict[tuple[str, str | int], list[Span]] = {}
    for held in state.memberships.values():
        if held.pupil == survivor:
            place = _place_of(state.groups[held.group])
            taken.setdefault(place, []).append((held.valid_from, held.valid_to))
    for held in [each for each in state.memberships.values() if each.pupil == loser]:
        del state.memberships[held[:3]]
        place = _place_of(state.groups[held.group])
        for begin, end in subtract((held.valid_from, held.valid_to), taken.get(place, [])):
            state.add_membership(Membership(held.group, survivor, begin, end))


def _place_of(group: Group) -> tuple[str, str | int]:
    """Return what a pupil has one of at a time: a tutor group, a house, a class of a subject, this group."""
    match group.type_code:
        case "TUTORGRP" | "HOUSE" | "YEARGRP":
            return group.type_code, ""
        case "CLASS" if group.subject:
            return group.type_code, group.subject
        case _:
            return group.type_code, group.number


def rekey(state: WorldState, pupil: int, new_number: int) -> Pupil:
    """See ``World.rekey``."""
    if pupil not in state.pupils:
        raise EditRefused("rekey", "pupil", f"there is no pupil {pupil}")
    if not 1 <= new_number <= _LARGEST_NUMBER:
        raise EditRefused("rekey", "new_number", f"must be from 1 to {_LARGEST_NUMBER}")
    if new_number in state.pupils or new_number in state.merged or new_number in state.retired:
        raise EditRefused("rekey", "new_number", "is or was another pupil's number")
    state.revision += 1
    state.retired.add(pupil)
    state.numbers["pupil"] = max(state.numbers["pupil"], new_number)
    rekeyed = replace(state.pupils[pupil], number=new_number)
    rewrite(state.pupils, lambda key, value: (new_number, rekeyed) if key == pupil else (key, value))
    rewrite(
        state.contact_links,
        lambda key, link: (
            ((new_number, key[1]), replace(link, pupil=new_number)) if link.pupil == pupil else (key, link)
        ),
    )
    rewrite(
        state.enrolments,
        lambda key, held: (
            ((new_number, key[1]), held._replace(pupil=new_number)) if held.pupil == pupil else (key, held)
        ),
    )
    rewrite(
        state.memberships,
        lambda key, held: (
            ((key[0], new_number, key[2]), held._replace(pupil=new_number))
            if held.pupil == pupil
            else (key, held)
        ),
    )
    for number, event in state.behaviour.items():
        if event.pupil == pupil:
            state.behaviour[number] = replace(event, pupil=new_number)
    for number, result in state.assessments.items():
        if result.pupil == pupil:
            state.assessments[number] = replace(result, pupil=new_number)
    rewrite(
        state.lesson_marks,
        lambda key, mark: (
            ((new_number, *key[1:]), mark._replace(pupil=new_number)) if mark.pupil == pupil else (key, mark)
        ),
    )
    if pupil in state.withheld:
        state.withheld.remove(pupil)
        state.withheld.add(new_number)
    rewrite(state.merged, lambda key, into: (key, new_number if into == pupil else into))
    state.registers.of[new_number] = state.registers.of.pop(pupil)
    return rekeyed
