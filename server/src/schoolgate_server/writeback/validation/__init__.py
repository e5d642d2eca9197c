"""Checks an operation against the school's canonical copy; everything that is wrong is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from schoolgate.v1 import attendance_pb2 as a
from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import KINDS, Connector, WriteOperation
from schoolgate_server.model.checks import FoundViolations
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.writes import action_of, operation_name
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.validation import rules
from schoolgate_server.writeback.validation.facts import Copy, Facts, Tables, Wanted
from schoolgate_server.writeback.validation.shape import (
    Problems,
    Today,
    day_of,
    fit_problems,
    shape_problems,
)
from schoolgate_server.writeback.values import (
    ReferenceLost,
    key_in_mis,
    kind_of_reference,
    references_of,
)

_DAY_FIELDS = ("date", "occurred_at")
_NOT_OURS = (
    "must be a record that a write of this service made; ReverseWrite undoes one that changed what was there"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with an operation, by field, and the record ids that it means, after merges.

    ``student_id`` is that of the pupil whom it is about, "" where that is nobody.
    """

    problems: Problems
    meant: Mapping[str, str]
    student_id: str = ""

    def note(self, operation: pb.WriteOperation, violations: FoundViolations) -> None:
        """Note everything that is wrong, with the path of its field in ``SubmitWriteRequest``."""
        path = f"operation.{operation_name(operation)}"
        for field, problem in self.problems.items():
            violations.add(f"{path}.{field}" if field else path, problem)


@dataclass(frozen=True, slots=True)
class Question:
    """An operation that is to be checked for one school, as of a published seq."""

    school: School
    connector: Connector
    declared: WriteOperation
    operation: pb.WriteOperation
    seq: int


async def checked(store: Store, question: Question, today: Today, tables: Tables) -> Checked:
    """Check an operation by itself, against the connector, and against the copy.

    * Who and what is named exists, has not gone, and has a key in the school's present MIS. A record that was
      merged means the one that it lives on as.
    * The pupil is on roll on the day: of the mark, of the event by the school's time zone, and so on. Dual
      registrations count. A school without enrolments is not asked.
    * An attendance code is one of the school's, valid on the day; the retired ones are refused from 19 August
      2024 on. Of a correction that is the day of the mark.
    * A lesson's mark names a period in which the pupil has a lesson on that day, where the copy has a
      timetable of it.
    * Who takes the register of a lesson teaches the pupil in that period on that day: by the timetable, or
      where it names nobody by the assignments of the group. Where the copy has neither, anybody may.
    * A behaviour event's type is one of the school's, where it has a table of them. Its member of staff must
      exist, and need not teach the pupil at that time: what happens in a corridor is seen by anybody.
    * What is taken back was made by a write of this service: it was not there before that was sent.

    What the copy cannot know is not checked: kinds that were never synced, fields that the data profile does
    not keep, and the codes of consents and interventions, of which there is no table.
    """
    operation = question.operation
    problems = shape_problems(operation, today)
    for field, problem in fit_problems(operation, question.declared).items():
        problems.setdefault(field, problem)
    given = {field: one for field, one in references_of(operation).items() if field not in problems}
    copy = Copy(store, question.school.school_id, question.seq, tables)
    facts = await copy.facts(_wanted(operation, given, problems, today.zone))
    is_ours = await _is_ours(store, question, given)
    corrected = facts.records.get("record_id")
    for field, problem in _against(question, facts, problems, today.zone).items():
        problems.setdefault(field, problem)
    if not is_ours:
        problems.setdefault("record_id", _NOT_OURS)
    problems.update(await _without_keys(store, question, facts, problems))
    if corrected is not None and "code" not in problems:
        problems.update(await _corrected_code(copy, question, corrected))
    meant = {field: record.id for field, record in facts.records.items() if record is not None}
    return Checked(problems, meant, meant.get("student_id", "") or _pupil_of(corrected))


def _pupil_of(record: Record | None) -> str:
    if record is None:
        return ""
    pupil: str = getattr(getattr(record, KINDS[record.kind].name), "student_id", "")
    return pupil


def _day(operation: pb.WriteOperation, problems: Problems, zone: ZoneInfo) -> str:
    """Return the day that an operation is about; "" where it has none that is right."""
    action = action_of(operation)
    for field in _DAY_FIELDS:
        if field in action.DESCRIPTOR.fields_by_name and field not in problems:
            value: str = getattr(action, field)
            return value if field == "date" else day_of(value, zone)
    return ""


def _wanted(
    operation: pb.WriteOperation, given: Mapping[str, str], problems: Problems, zone: ZoneInfo
) -> Wanted:
    name, day = operation_name(operation), _day(operation, problems, zone)
    is_mark = name == "record_attendance_mark"
    mark = operation.record_attendance_mark
    is_lesson = is_mark and mark.session == a.ATTENDANCE_SESSION_LESSON and "period_name" not in problems
    return Wanted(
        dict(given),
        given.get("student_id", ""),
        roll=bool(day),
        lessons_on=day if is_lesson else "",
        taught_in=mark.period_name if is_lesson and "staff_id" in given else "",
        attendance_codes=is_mark and bool(day) and "code" not in problems,
        local_codes=name == "record_behaviour_event" and "type_code" not in problems,
    )


def _against(question: Question, facts: Facts, problems: Problems, zone: ZoneInfo) -> Problems:
    """Return what the copy says against an operation, of the fields that are right by themselves."""
    operation = question.operation
    found: Problems = {}
    for field, record in facts.records.items():
        problem = _record_problem(field, record)
        if problem is not None:
            found[field] = problem
    day = _day(operation, problems, zone)
    if facts.enrolments is not None and facts.records.get("student_id") is not None:
        enrolments = facts.enrolments
        problem = rules.roll_problem(enrolments.records, day, are_known=enrolments.are_known)
        if problem is not None:
            found.setdefault("student_id", problem)
    match operation_name(operation):
        case "record_attendance_mark":
            mark = operation.record_attendance_mark
            told = {
                "code": rules.code_problem(mark.code, day, facts.attendance_codes, _retired(question))
                if day
                else None,
                "period_name": rules.period_problem(mark.period_name, facts.lessons),
            }
            if facts.staff_ids and "staff_id" not in found:
                told["staff_id"] = rules.staff_problem(facts.staff_ids, facts.lessons)
        case "record_behaviour_event":
            event = operation.record_behaviour_event
            told = {"type_code": rules.type_problem(event.type_code, facts.local_codes)}
        case _:
            told = {}
    found.update({field: problem for field, problem in told.items() if problem is not None})
    return found


def _record_problem(field: str, record: Record | None) -> str | None:
    if record is None:
        return "must be a record of the school"
    if record.HasField("tombstone"):
        return "must be a record that has not gone from the school's data"
    kind = kind_of_reference(field)
    if kind is not None and record.kind != kind:
        return f"must be a {KINDS[kind].name}"
    return None


def _retired(question: Question) -> frozenset[str]:
    """Return the codes that mean nothing any more, by the school's own meanings."""
    meanings = resolve_meanings(question.connector.code_meanings, question.school.code_mappings)
    codes = meanings[k.KIND_ATTENDANCE_MARK].get("code", {})
    return frozenset(code for code, meaning in codes.items() if meaning == a.ATTENDANCE_MEANING_RETIRED)


async def _is_ours(store: Store, question: Question, given: Mapping[str, str]) -> bool:
    """Whether what is to be taken back was made by a write; true for whatever takes nothing back.

    A write that changed what was there before it has not made it: what it changed would be lost.
    """
    if operation_name(question.operation) != "deactivate_record" or "record_id" not in given:
        return True
    school_id, record_id = question.school.school_id, given["record_id"]
    written = await store.writes.made(school_id, [record_id])
    before = await asyncio.gather(
        *(store.records.get(school_id, record_id, entry.seq_sent) for entry in written)
    )
    return any(record is None or record.HasField("tombstone") for record in before)


async def _without_keys(store: Store, question: Question, facts: Facts, problems: Problems) -> Problems:
    """Return the fields whose records the school's present MIS does not know."""
    right = {
        field: record
        for field, record in facts.records.items()
        if record is not None and field not in problems
    }
    found: Problems = {}
    for field, record in right.items():
        try:
            await key_in_mis(store, question.connector, field, record, question.seq)
        except ReferenceLost as error:
            found[field] = f"cannot be written: {error.why}"
    return found


async def _corrected_code(copy: Copy, question: Question, corrected: Record) -> Problems:
    """Return what is wrong with the code that a mark is to get, on the day of that mark."""
    operation = question.operation
    if operation_name(operation) != "correct_record" or not operation.correct_record.HasField("code"):
        return {}
    if kind_of(corrected.id) != k.KIND_ATTENDANCE_MARK or not corrected.attendance_mark.date:
        return {}
    table = (await copy.facts(Wanted({}, attendance_codes=True))).attendance_codes
    day = corrected.attendance_mark.date
    problem = rules.code_problem(operation.correct_record.code, day, table, _retired(question))
    return {} if problem is None else {"code": problem}
