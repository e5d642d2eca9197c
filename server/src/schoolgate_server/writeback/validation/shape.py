"""What is wrong with an operation by itself, without any look at the school's data; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_SESSION_LESSON
from schoolgate_sdk import KINDS, WriteOperation
from schoolgate_server.model.checks import is_iso_date, is_record_id
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.writes import action_of, operation_name
from schoolgate_server.writeback.values import SESSIONS, given_fields, kind_of_reference

Problems: TypeAlias = dict[str, str]
"""What is wrong, by the name of the field; "" stands for the operation as a whole."""

LONGEST_CODE = 32
LONGEST_NAME = 200
LONGEST_COMMENT = 2000
LONGEST_NOTE = 10_000
MOST_POINTS = 10_000
"""Points of one event, either way; schools give single ones, and a MIS may keep 32 bits."""

MINUTES_OF_A_DAY = 24 * 60

CLOCKS = timedelta(minutes=5)
"""How far ahead the clock of a caller may be before what happened is said to lie in the future."""

_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_MAY_COME = frozenset({"record_consent"})
"""Operations whose date may lie in the future."""

_LONG_TEXTS = MappingProxyType({"comment": LONGEST_COMMENT, "note": LONGEST_NOTE, "reason": LONGEST_COMMENT})
_TEXTS = MappingProxyType(
    {
        "type_code": LONGEST_CODE,
        "code": LONGEST_CODE,
        "period_name": LONGEST_NAME,
        "assessment_name": LONGEST_NAME,
        "result": LONGEST_NAME,
    }
)
_NUMBERS = MappingProxyType(
    {"points": (-MOST_POINTS, MOST_POINTS), "minutes_late": (0, MINUTES_OF_A_DAY - 1)}
)
_CORRECTABLE: Mapping[str, frozenset[k.Kind.ValueType]] = MappingProxyType(
    {
        "code": frozenset({k.KIND_ATTENDANCE_MARK}),
        "points": frozenset({k.KIND_BEHAVIOUR_EVENT}),
        "result": frozenset({k.KIND_ASSESSMENT_RESULT}),
        "comment": frozenset({k.KIND_ATTENDANCE_MARK, k.KIND_BEHAVIOUR_EVENT}),
    }
)
"""Of which kinds ``CorrectRecord`` can correct a field."""


class Today(NamedTuple):
    """The present moment, and the time zone by which the school has its days."""

    now: datetime
    zone: ZoneInfo

    @property
    def day(self) -> str:
        """The school's present day as an ISO date."""
        return self.now.astimezone(self.zone).date().isoformat()


def shape_problems(operation: pb.WriteOperation, today: Today) -> Problems:
    """Return what is wrong with the fields of the action that is set, one thing for each.

    Texts are bounded and hold no control characters; line ends and tabs may stand in comments, notes and
    reasons. Dates are real ones and not in the school's future, except for a consent's. Record ids are
    well-formed and of the right kind.
    """
    action, name = action_of(operation), operation_name(operation)
    problems: Problems = {}
    for field in action.DESCRIPTOR.fields:
        if field.has_presence and not action.HasField(field.name):
            continue
        value: str | int | bool = getattr(action, field.name)
        problem: str | None
        if field.enum_type is not None:
            problem = None if value in SESSIONS else f"must be a session: {', '.join(SESSIONS.values())}"
        elif isinstance(value, str) and not value.strip() and field.name != "reason":
            problem = "must not be empty where it is given" if field.has_presence else "must be given"
        elif isinstance(value, str):
            problem = _text_problem(name, field.name, value, today)
        else:
            problem = _number_problem(field.name, value)
        if problem is not None:
            problems[field.name] = problem
    for check in (_lesson_problems, _correction_problems):
        for field_name, problem in check(operation).items():
            problems.setdefault(field_name, problem)
    return problems


def fit_problems(operation: pb.WriteOperation, declared: WriteOperation) -> Problems:
    """Return where an operation does not fit what the school's connector can write.

    What the connector does not read is refused rather than dropped in silence.
    """
    given = given_fields(operation)
    problems: Problems = {
        name: "must be given: the school's connector needs it"
        for name in declared.required
        if name not in given
    }
    read = {*declared.required, *declared.optional, "reason"}
    action = action_of(operation)
    for field in action.DESCRIPTOR.fields:
        said = action.HasField(field.name) if field.has_presence else bool(getattr(action, field.name))
        if said and field.name not in read:
            problems[field.name] = "must not be given: the school's connector cannot write it"
    target: str = getattr(action, "record_id", "")
    if is_record_id(target) and kind_of(target) not in declared.kinds:
        able = ", ".join(sorted(KINDS[kind].name for kind in declared.kinds)) or "none"
        problems["record_id"] = f"must be of a kind to which the school's connector can do this: {able}"
    return problems


def text_problem(value: str, maximum: int, *, lines: bool = False) -> str | None:
    """Return what is wrong with a text; ``lines`` lets it have line ends and tabs."""
    if len(value) > maximum:
        return f"must have at most {maximum} characters"
    if lines:
        value = value.replace("\r\n", "").replace("\n", "").replace("\t", "")
    elif value != value.strip():
        return "must not begin or end with a space"
    if any(_is_control(character) for character in value):
        return "must not hold control characters"
    return None


def _is_control(character: str) -> bool:
    # C0 and C1 with DEL, the two separators that some take for line ends, what turns the direction of the
    # text after it, and what is no character.
    return (
        character < " "
        or "\x7f" <= character <= "\x9f"
        or character in "\u2028\u2029"
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
        or ord(character) & 0xFFFE == 0xFFFE
    )


def day_of(moment: str, zone: ZoneInfo) -> str:
    """Return the school's day in which a moment lies that :func:`shape_problems` found nothing wrong with."""
    return datetime.fromisoformat(moment).astimezone(zone).date().isoformat()


def _number_problem(name: str, value: int) -> str | None:
    least, most = _NUMBERS.get(name, (value, value))
    return None if least <= value <= most else f"must be between {least} and {most}"


def _text_problem(operation: str, name: str, value: str, today: Today) -> str | None:
    if name == "date":
        return _day_problem(value, today, may_come=operation in _MAY_COME)
    if name == "occurred_at":
        return _moment_problem(value, today)
    if name.endswith("_id"):
        return _reference_problem(name, value)
    if name in _LONG_TEXTS:
        return text_problem(value, _LONG_TEXTS[name], lines=True)
    return text_problem(value, _TEXTS[name])


def _day_problem(value: str, today: Today, *, may_come: bool) -> str | None:
    if not is_iso_date(value):
        return "must be an ISO 8601 date (YYYY-MM-DD)"
    if value > today.day and not may_come:
        return "must not lie in the future"
    return None


def _moment_problem(value: str, today: Today) -> str | None:
    try:
        moment = datetime.fromisoformat(value) if _MOMENT.fullmatch(value) else None
        if moment is not None:
            moment.astimezone(today.zone)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        return "must be an ISO 8601 date and time with offset (2026-11-02T09:15:00+00:00)"
    return "must not lie in the future" if moment > today.now + CLOCKS else None


def _reference_problem(name: str, value: str) -> str | None:
    kind = kind_of_reference(name)
    if kind is None:
        return None if is_record_id(value) else 'must be the id of a record ("beh_…")'
    info = KINDS[kind]
    if is_record_id(value) and kind_of(value) == kind:
        return None
    return f'must be the id of a {info.name} ("{info.prefix}_…")'


def _lesson_problems(operation: pb.WriteOperation) -> Problems:
    """Return what is wrong with the period of an attendance mark: lessons have one, sessions have none."""
    if operation_name(operation) != "record_attendance_mark":
        return {}
    mark = operation.record_attendance_mark
    is_lesson = mark.session == ATTENDANCE_SESSION_LESSON
    if is_lesson and not mark.HasField("period_name"):
        return {"period_name": "must be given for the mark of a lesson"}
    if not is_lesson and mark.HasField("period_name"):
        return {"period_name": "must not be given, except for the mark of a lesson"}
    return {}


def _correction_problems(operation: pb.WriteOperation) -> Problems:
    """Return what is wrong with the choice of what is corrected."""
    if operation_name(operation) != "correct_record":
        return {}
    correction = operation.correct_record
    given = [field.name for field, _ in correction.ListFields() if field.name in _CORRECTABLE]
    if not given:
        return {"": "must correct something: " + ", ".join(_CORRECTABLE)}
    if not is_record_id(correction.record_id):
        return {}
    kind = kind_of(correction.record_id)
    name_of_kind = KINDS[kind].name
    return {
        name: f"must not be given: a record of kind {name_of_kind} has none that can be corrected"
        for name in given
        if kind not in _CORRECTABLE[name]
    }
