"""Drawing what the year brings: behaviour events and assessment results, a few for every pupil."""

from __future__ import annotations

from datetime import date, datetime, time
from random import Random

from schoolgate_sdk.testing.entities import AssessmentResult, BehaviourEvent, BehaviourType
from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.state import WorldState

BEHAVIOUR_TYPES: tuple[tuple[str, int], ...] = (
    ("Achievement point", 1),
    ("Head teacher's award", 10),
    ("Kindness", 2),
    ("Homework not handed in", -1),
    ("Disruption of a lesson", -2),
    ("Late to lesson", -1),
    ("Detention", -5),
)
"""What every school starts with: names and usual points."""

_WEIGHTS = (38, 2, 14, 18, 14, 10, 4)
_COMMENTS = (
    "Superb essay – read out in class",
    "Helped a new pupil find the hall",
    'Said "no" three times',
    "Homework <late> & incomplete",
    "Ça va mieux!",
)
_INTERNAL = ("Spoke to parent", "See pastoral log")
_EVENTS_A_YEAR = 4
"""Events per pupil and year on average."""
_GRADED_SUBJECTS = ("En", "Ma", "Sc")
_GRADES = ("9", "8", "7", "6", "5", "4", "3", "2", "1", "U", "5+", "4=")
_ASSESSED_FROM = {"Autumn": (9, 1), "Spring": (3, 1), "Summer": (6, 10)}
"""Month and day from which the results of a term are entered, on the first school day there is."""


def add_conduct(state: WorldState) -> None:
    """Add the types of behaviour, and events and results up to the day whose registers are not taken."""
    for name, points in BEHAVIOUR_TYPES:
        number = state.take_number("behaviour_type")
        state.behaviour_types[number] = BehaviourType(number, name, points)
    extend_conduct(state, 0)


def extend_conduct(state: WorldState, taken_before: int) -> None:
    """Add what happened on the days taken since ``taken_before`` sessions of the year were."""
    days = state.year.days[taken_before // 2 : state.registers.taken // 2]
    if not days or not state.behaviour_types:
        return
    groups = _classes(state)
    teachers = {held.group: held.staff for held in state.assignments.values()}
    results_on = _results_on(state, days)
    if days[0] == state.year.days[0]:
        # Somebody gets a point on the first day, so that the smallest school has an event to show.
        first = next(iter(state.pupils))
        _add_event(state, stream(state.seed, "first"), first, days[0], groups.get(first, []), teachers)
    for pupil in list(state.pupils):
        random = stream(state.seed, "conduct", pupil, days[0].isoformat())
        for day in days:
            if chance(random, _EVENTS_A_YEAR / 190) and on_roll(state, pupil, day):
                _add_event(state, random, pupil, day, groups.get(pupil, []), teachers)
        for term, day in results_on:
            if on_roll(state, pupil, day):
                _add_results(state, random, pupil, term, day)


def on_roll(state: WorldState, pupil: int, day: date) -> bool:
    """Say whether the pupil has a register with marks of ``day``."""
    index = state.year.index_of(day, "AM")
    return index is not None and bool(state.registers.of[pupil].codes[index])


def _classes(state: WorldState) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for group, pupil, _ in state.memberships:
        if state.groups[group].type_code == "CLASS":
            found.setdefault(pupil, []).append(group)
    return found


def _results_on(state: WorldState, days: tuple[date, ...]) -> list[tuple[str, date]]:
    """Return the terms whose results are entered within ``days``, each with its day."""
    found: list[tuple[str, date]] = []
    for term in state.year.terms:
        since = _ASSESSED_FROM.get(term.name, (13, 1))
        in_term = (day for day in state.year.days if term.valid_from <= day < term.valid_to)
        entered = next((day for day in in_term if (day.month, day.day) >= since), None)
        if entered is not None and days[0] <= entered <= days[-1]:
            found.append((term.name, entered))
    return found


def _add_event(
    state: WorldState,
    random: Random,
    pupil: int,
    day: date,
    classes: list[int],
    teachers: dict[int, int],
) -> None:
    kind = random.choices(list(state.behaviour_types.values()), _weights(state))[0]
    group = random.choice(classes) if classes and chance(random, 0.7) else None
    room = random.choice(list(state.rooms)) if state.rooms and chance(random, 0.5) else None
    number = state.take_number("behaviour")
    state.behaviour[number] = BehaviourEvent(
        number=number,
        pupil=pupil,
        event_type=kind.number,
        occurred_at=datetime.combine(day, time(random.randrange(9, 15), random.randrange(60))),
        points=kind.points if chance(random, 0.9) else kind.points * 2,
        staff=teachers.get(group or 0) or (random.choice(list(state.staff)) if state.staff else None),
        group=group,
        room=room,
        comment=random.choice(_COMMENTS) if chance(random, 0.5) else None,
        internal_comment=random.choice(_INTERNAL) if chance(random, 0.1) else None,
    )


def _weights(state: WorldState) -> list[int]:
    return [_WEIGHTS[place % len(_WEIGHTS)] for place in range(len(state.behaviour_types))]


def _add_results(state: WorldState, random: Random, pupil: int, term: str, day: date) -> None:
    """Enter a grade for a subject and, now and then, a reading age, which belongs to no subject."""
    subjects = [code for code in _GRADED_SUBJECTS if code in state.subjects]
    if subjects:
        add_result(
            state,
            pupil=pupil,
            assessment=f"{term} assessment",
            result=random.choice(_GRADES),
            entered_on=day,
            subject=random.choice(subjects),
            term=term,
            is_grade=True,
        )
    if chance(random, 0.2):
        add_result(
            state,
            pupil=pupil,
            assessment="Reading age",
            result=f"{random.randrange(7, 17)}:{random.randrange(12):02d}",
            entered_on=day,
            subject=None,
            term=term,
            is_grade=False,
        )


def add_result(
    state: WorldState,
    *,
    pupil: int,
    assessment: str,
    result: str,
    entered_on: date,
    subject: str | None,
    term: str | None,
    is_grade: bool | None,
) -> AssessmentResult:
    """Enter a result under the next number, for the pupil's present year group."""
    number = state.take_number("assessment")
    year_group = state.pupils[pupil].year_group
    entered = AssessmentResult(
        number, pupil, assessment, result, entered_on, subject, term, year_group, is_grade
    )
    state.assessments[number] = entered
    return entered


def unique_by(result: AssessmentResult) -> tuple[int, str, str | None, str | None]:
    """Return what no two results share: pupil, assessment, subject and term."""
    return result.pupil, result.assessment, result.subject, result.term
