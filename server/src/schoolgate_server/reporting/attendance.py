"""Percentage attendance by the DfE's definition, over the marks of sessions.

Source: SI 2024/208, regulation 10, and DfE, Working together to improve school attendance, August 2024.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from schoolgate.v1 import attendance_pb2 as a
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.reporting.standing import Unresolved, standing

SESSIONS = {a.ATTENDANCE_SESSION_AM: "am", a.ATTENDANCE_SESSION_PM: "pm"}

_FIGURES: Mapping[a.AttendanceMeaning.ValueType, str] = {
    a.ATTENDANCE_MEANING_PRESENT: "present",
    a.ATTENDANCE_MEANING_APPROVED_EDUCATIONAL_ACTIVITY: "approved_educational_activity",
    a.ATTENDANCE_MEANING_AUTHORISED_ABSENCE: "authorised_absence",
    a.ATTENDANCE_MEANING_UNAUTHORISED_ABSENCE: "unauthorised_absence",
    a.ATTENDANCE_MEANING_NOT_POSSIBLE: "not_possible",
    a.ATTENDANCE_MEANING_ADMINISTRATIVE: "administrative",
    a.ATTENDANCE_MEANING_RETIRED: "retired",
}
_ATTENDED = ("present", "approved_educational_activity")
_POSSIBLE = (*_ATTENDED, "authorised_absence", "unauthorised_absence")
_COUNTED = (*_POSSIBLE, "not_possible", "administrative", "retired", "unmapped", "conflicting")
_LATE = {("L", "present"): "late_before_close", ("U", "unauthorised_absence"): "late_after_close"}


def figure_of(mark: a.AttendanceMark) -> str:
    """Return the figure that a mark counts in; what this release cannot place counts as unmapped."""
    return _FIGURES.get(mark.meaning, "unmapped")


def complete(figures: pb.AttendanceFigures) -> None:
    """Fill in what follows from the counts."""
    figures.attended_sessions = sum(getattr(figures, name) for name in _ATTENDED)
    figures.possible_sessions = sum(getattr(figures, name) for name in _POSSIBLE)
    if figures.possible_sessions:
        figures.percentage = 100 * figures.attended_sessions / figures.possible_sessions


def together(parts: Iterable[pb.AttendanceFigures]) -> pb.AttendanceFigures:
    """Return the sums of the parts' counts, and what follows from the sums."""
    summed = pb.AttendanceFigures()
    for part in parts:
        for name in (*_COUNTED, *_LATE.values()):
            setattr(summed, name, getattr(summed, name) + getattr(part, name))
    complete(summed)
    return summed


def all_together(parts: Sequence[pb.Attendance]) -> pb.Attendance:
    """Return the attendance of several pupils together."""
    return pb.Attendance(
        total=together(part.total for part in parts),
        am=together(part.am for part in parts),
        pm=together(part.pm for part in parts),
    )


class Registers:
    """The sessions of some pupils, counted from their marks.

    ``attendance`` has every pupil that was asked about, by id. ``lesson_marks`` counts marks of lessons.
    """

    def __init__(self, unresolved: Unresolved) -> None:
        self.attendance: dict[str, pb.Attendance] = {}
        self.lesson_marks = 0
        self.unresolved = unresolved
        self._codes: Counter[tuple[str, a.AttendanceMeaning.ValueType]] = Counter()

    @property
    def codes(self) -> list[pb.AttendanceCodeCount]:
        """How often each code was counted, in order of the codes."""
        return [
            pb.AttendanceCodeCount(code=code, meaning=meaning, count=count)
            for (code, meaning), count in sorted(self._codes.items())
        ]

    def count(self, records: Iterable[Record], pupils: Mapping[str, str]) -> None:
        """Count all marks, of the span asked about, that some pupils have.

        ``pupils`` has for every id under which marks may name a pupil the id of the pupil that it means. No
        pupil may be counted twice, for two marks of one session have to be seen together.
        """
        sessions: dict[tuple[str, str, str], list[Record]] = {}
        for record in standing(records, self.unresolved):
            mark = record.attendance_mark
            if mark.student_id not in pupils:
                continue
            if mark.session == a.ATTENDANCE_SESSION_LESSON:
                self.lesson_marks += 1
            elif mark.session not in SESSIONS:
                self.unresolved.note(pb.UNRESOLVED_REASON_SESSION_UNKNOWN, record.id)
            else:
                place = (pupils[mark.student_id], mark.date, SESSIONS[mark.session])
                sessions.setdefault(place, []).append(record)
        counted = {pupil: pb.Attendance() for pupil in sorted(set(pupils.values()))}
        for (pupil, _, session), marks in sessions.items():
            self._count_session(getattr(counted[pupil], session), marks)
        for one in counted.values():
            complete(one.am)
            complete(one.pm)
            one.total.CopyFrom(together((one.am, one.pm)))
        self.attendance |= counted

    def _count_session(self, figures: pb.AttendanceFigures, marks: Sequence[Record]) -> None:
        """Count one session of one pupil, once."""
        names = {figure_of(record.attendance_mark) for record in marks}
        if len(names) > 1:
            figures.conflicting += 1
            ids = sorted(record.id for record in marks)
            self.unresolved.note(pb.UNRESOLVED_REASON_MARKS_CONFLICT, *ids[:1])
            return
        [name] = names
        setattr(figures, name, getattr(figures, name) + 1)
        # Marks that agree in what they mean may differ in their codes; the first stands for the session.
        first = min(marks, key=lambda record: (record.attendance_mark.code, record.id))
        mark = first.attendance_mark
        self._codes[mark.code, mark.meaning] += 1
        late = _LATE.get((mark.code, name))
        if late:
            setattr(figures, late, getattr(figures, late) + 1)
        if name == "retired":
            self.unresolved.note(pb.UNRESOLVED_REASON_CODE_RETIRED, first.id, detail=mark.code)
        elif name == "unmapped" and mark.code:
            self.unresolved.note(pb.UNRESOLVED_REASON_CODE_WITHOUT_MEANING, first.id, detail=mark.code)
        elif name == "unmapped":
            self.unresolved.note(pb.UNRESOLVED_REASON_CODE_MISSING, first.id)
