"""Who is on roll on a day: each pupil once, however many enrolments cover it.

Source: DfE, Common Basic Data Set (CBDS), enrolment status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1 import roll_pb2 as r
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record
from schoolgate_server.reporting.standing import Unresolved, valid_on

_ORDER: Mapping[r.EnrolmentStatus.ValueType, str] = {
    r.ENROLMENT_STATUS_CURRENT_MAIN: "dual_main",
    r.ENROLMENT_STATUS_CURRENT: "single_registration",
    r.ENROLMENT_STATUS_CURRENT_SUBSIDIARY: "dual_subsidiary",
    r.ENROLMENT_STATUS_FE_COLLEGE: "fe_college",
    r.ENROLMENT_STATUS_OTHER_PROVIDER: "other_provider",
    r.ENROLMENT_STATUS_GUEST: "guests",
}
"""What a pupil counts as, by the first status in this order that one of their enrolments has."""

ON_ROLL = ("single_registration", "dual_main", "dual_subsidiary")
_FIGURES = (*_ORDER.values(), "unmapped")
_DUAL = {r.ENROLMENT_STATUS_CURRENT_MAIN, r.ENROLMENT_STATUS_CURRENT_SUBSIDIARY}


class Registered(NamedTuple):
    """How one pupil is registered on the day: a figure of ``RollFigures``, and a year group or ""."""

    figure: str
    year_group_code: str


def is_on_roll(enrolments: Iterable[Record], day: str) -> bool | None:
    """Whether one pupil, with all of these enrolments, is on roll on ``day``; ``None`` where nobody can tell.

    Nobody can where an enrolment that covers the day has no status that means something, or where one left
    for a reason that says nothing of its days.
    """
    unresolved = Unresolved()
    statuses = {record.enrolment.status for record in valid_on(enrolments, day, unresolved)}
    if _deciding(statuses)[1] in ON_ROLL:
        return True
    without_meaning = any(not status or status not in r.EnrolmentStatus.values() for status in statuses)
    unexplained = any(one.reason == pb.UNRESOLVED_REASON_LEFT_UNEXPLAINED for one in unresolved.told())
    return None if without_meaning or unexplained else False


def survivors(students: Iterable[Record]) -> dict[str, str]:
    """Return for every student's id, merged ones included, the id that it means now."""
    into = {
        record.id: record.tombstone.merged_into
        if record.tombstone.reason == TOMBSTONE_REASON_MERGED
        else record.id
        for record in students
    }
    found: dict[str, str] = {}
    for record_id in into:
        seen = {record_id}
        last = record_id
        while into.get(last, last) not in seen:
            last = into.get(last, last)
            seen.add(last)
        found[record_id] = last
    return found


def registered(
    enrolments: Iterable[Record], students: Iterable[Record], day: str, unresolved: Unresolved
) -> dict[str, Registered]:
    """Return the pupils with an enrolment that covers ``day``, each once, by id.

    ``enrolments`` and ``students`` are all of the school's, whatever their days, tombstoned ones included.
    """
    known = {record.id: record for record in students}
    means = survivors(known.values())
    every = list(enrolments)
    of_pupil: dict[str, list[Record]] = {}
    for record in valid_on(every, day, unresolved):
        pupil = means.get(record.enrolment.student_id, "")
        if pupil:
            of_pupil.setdefault(pupil, []).append(record)
        else:
            unresolved.note(pb.UNRESOLVED_REASON_STUDENT_UNKNOWN, record.id, detail="enrolment")
    found: dict[str, Registered] = {}
    for pupil, held in sorted(of_pupil.items()):
        one = _of_one(pupil, held, known, unresolved)
        if one is not None:
            found[pupil] = one
    enrolled = {means.get(record.enrolment.student_id, "") for record in every}
    for record_id in sorted(known.keys() - enrolled):
        if not known[record_id].HasField("tombstone"):
            unresolved.note(pb.UNRESOLVED_REASON_STUDENT_WITHOUT_ENROLMENT, record_id)
    return found


def _deciding(
    statuses: Set[r.EnrolmentStatus.ValueType],
) -> tuple[r.EnrolmentStatus.ValueType | None, str | None]:
    """Return the status that decides what a pupil counts as, and the figure; none for one who has gone."""
    deciding = next((status for status in _ORDER if status in statuses), None)
    if deciding is not None:
        return deciding, _ORDER[deciding]
    return None, None if statuses == {r.ENROLMENT_STATUS_PREVIOUS} else "unmapped"


def _of_one(
    pupil: str, held: list[Record], known: Mapping[str, Record], unresolved: Unresolved
) -> Registered | None:
    statuses = {record.enrolment.status for record in held}
    for record in held:
        if record.enrolment.status not in r.EnrolmentStatus.values() or not record.enrolment.status:
            code = record.enrolment.status_code
            reason = pb.UNRESOLVED_REASON_CODE_WITHOUT_MEANING if code else pb.UNRESOLVED_REASON_CODE_MISSING
            unresolved.note(reason, record.id, detail=code)
    deciding, figure = _deciding(statuses)
    if figure is None:
        return None
    if r.ENROLMENT_STATUS_CURRENT in statuses and statuses & _DUAL:
        unresolved.note(pb.UNRESOLVED_REASON_ENROLMENTS_CONFLICT, pupil)
    # The enrolment that decides says which year group, else any other of the day, else the pupil.
    ranked = sorted(held, key=lambda record: (record.enrolment.status != deciding, record.id))
    codes = [record.enrolment.year_group_code for record in ranked]
    codes.append(known[pupil].student.year_group_code if pupil in known else "")
    year_group = next(filter(None, codes), "")
    if not year_group:
        unresolved.note(pb.UNRESOLVED_REASON_YEAR_GROUP_UNKNOWN, pupil)
    return Registered(figure, year_group)


def roll(pupils: Iterable[Registered]) -> tuple[list[pb.YearGroupRoll], pb.RollFigures]:
    """Return the figures of every year group, in the order of people, and of all together."""
    groups: dict[str, pb.RollFigures] = {}
    total = pb.RollFigures()
    for pupil in pupils:
        of_group = groups.setdefault(pupil.year_group_code, pb.RollFigures())
        for figures in (of_group, total):
            setattr(figures, pupil.figure, getattr(figures, pupil.figure) + 1)
            if pupil.figure in ON_ROLL:
                figures.on_roll += 1
    ordered = sorted(groups, key=lambda code: (not code, _natural(code)))
    return [pb.YearGroupRoll(year_group_code=code, figures=groups[code]) for code in ordered], total


def _natural(code: str) -> list[tuple[int, int, str]]:
    """Return what sorts "Year 9" before "Year 10"."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", code)
        if part
    ]
