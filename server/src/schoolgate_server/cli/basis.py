"""What an answer of ReportingService is made from and could not tell, in sentences beside it."""

from __future__ import annotations

from collections.abc import Mapping

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate_server.cli import console, questions

_SENTENCES: Mapping[pb.UnresolvedReason.ValueType, str] = {
    pb.UNRESOLVED_REASON_CODE_WITHOUT_MEANING: "code {detail!r} has no known meaning; "
    "the school's code_mappings (UpdateSchool) can give it one",
    pb.UNRESOLVED_REASON_CODE_MISSING: "records without a code",
    pb.UNRESOLVED_REASON_CODE_RETIRED: "code {detail!r} was retired in August 2024, and counts as nothing",
    pb.UNRESOLVED_REASON_SESSION_UNKNOWN: "marks that do not say of which session they are; not counted",
    pb.UNRESOLVED_REASON_MARKS_CONFLICT: "sessions with marks that contradict each other; not counted",
    pb.UNRESOLVED_REASON_STUDENT_UNKNOWN: "records that do not say which pupil they are about; not counted",
    pb.UNRESOLVED_REASON_YEAR_GROUP_UNKNOWN: "pupils without a year group",
    pb.UNRESOLVED_REASON_ENROLMENTS_CONFLICT: "pupils whose enrolments contradict each other; counted once",
    pb.UNRESOLVED_REASON_STUDENT_WITHOUT_ENROLMENT: "pupils without any enrolment, so that nobody can tell "
    "whether they are on roll; not counted",
    pb.UNRESOLVED_REASON_SPAN_UNKNOWN: "records ({detail}) without a first day, so that they may not be of "
    "the day; counted",
    pb.UNRESOLVED_REASON_LEFT_UNEXPLAINED: "records ({detail}) that have gone, nobody knows since which day; "
    "not counted",
    pb.UNRESOLVED_REASON_PERIOD_UNKNOWN: "lessons without a known slot or weekday; not shown",
    pb.UNRESOLVED_REASON_CYCLE_WEEK_UNKNOWN: "lessons of one week or another of a cycle of {detail}; "
    "--cycle-week says which week it is",
    pb.UNRESOLVED_REASON_SCHOOL_DAY_UNKNOWN: "whether the school meets that day is not known: "
    "its MIS shows no terms",
    pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN: "references to a {detail} that is not there",
    pb.UNRESOLVED_REASON_CUT_OFF: "more than an answer can hold; left out",
    pb.UNRESOLVED_REASON_TIMETABLE_UNKNOWN: "nobody's timetable has a lesson that day: "
    "its MIS may not show it that far ahead",
}
_WITHOUT_NUMBER = frozenset({pb.UNRESOLVED_REASON_SCHOOL_DAY_UNKNOWN, pb.UNRESOLVED_REASON_TIMETABLE_UNKNOWN})


def tell(*bases: pb.Basis) -> None:
    """Write of which instant an answer is, and what its pages could not tell, each thing once."""
    if not bases:
        return
    counts: dict[tuple[pb.UnresolvedReason.ValueType, str], int] = {}
    samples: dict[tuple[pb.UnresolvedReason.ValueType, str], str] = {}
    for basis in bases:
        for one in basis.unresolved:
            key = one.reason, one.detail
            counts[key] = counts.get(key, 0) + one.count
            samples.setdefault(key, next(iter(one.record_ids), ""))
    console.remark(f"as of seq {console.number(bases[0].seq)}")
    for key, count in counts.items():
        console.remark(f"  {_sentence(*key, count)}{f', as {samples[key]}' if samples[key] else ''}")
    fields = sorted({field for basis in bases for field in basis.fields_not_kept})
    if fields:
        console.remark(f"  the school's data profile drops {', '.join(fields)}")
    kinds = sorted({questions.kind_name(kind) for basis in bases for kind in basis.kinds_without_records})
    if kinds:
        console.remark(f"  the school has no records at all of: {', '.join(kinds)}")


def _sentence(reason: pb.UnresolvedReason.ValueType, detail: str, count: int) -> str:
    # A newer server may have reasons that this command has not heard of.
    told = _SENTENCES.get(reason, f"reason {reason} {{detail}}").format(detail=detail)
    return told if reason in _WITHOUT_NUMBER else f"{console.number(count)}: {told}"
