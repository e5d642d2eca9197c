"""The table of kinds: names, id prefixes, message classes and how a kind is dated and coded."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf.message import Message

from schoolgate.v1 import (
    assessment_pb2,
    attendance_pb2,
    behaviour_pb2,
    groups_pb2,
    people_pb2,
    roll_pb2,
    timetable_pb2,
)
from schoolgate.v1 import kind_pb2 as k


@dataclass(frozen=True, slots=True, eq=False)
class KindInfo:
    """What is fixed about one kind.

    ``name`` is the member of ``Record.body`` and the name used in data profiles; ``prefix`` begins every id.
    ``coded`` maps a code field to the field of its canonical meaning. ``on`` names the field that holds the
    day of a one-day kind; ``is_span`` tells whether the message is dated by ``valid_from`` and ``valid_to``.
    """

    kind: k.Kind.ValueType
    name: str
    prefix: str
    message: type[Message]
    coded: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    on: str | None = None
    is_span: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_span", "valid_from" in self.message.DESCRIPTOR.fields_by_name)

    @property
    def references(self) -> tuple[str, ...]:
        """Fields that hold record ids."""
        return tuple(f.name for f in self.message.DESCRIPTOR.fields if f.name.endswith("_id"))


def _coded(**pairs: str) -> MappingProxyType[str, str]:
    return MappingProxyType(pairs)


_TABLE = (
    KindInfo(k.KIND_SCHOOL, "school", "sch", roll_pb2.SchoolDetails),
    KindInfo(
        k.KIND_ACADEMIC_YEAR,
        "academic_year",
        "acy",
        roll_pb2.AcademicYear,
    ),
    KindInfo(
        k.KIND_STUDENT,
        "student",
        "stu",
        people_pb2.Student,
        _coded(sex_code="sex", sen_provision_code="sen_provision"),
    ),
    KindInfo(k.KIND_STAFF, "staff", "stf", people_pb2.Staff),
    KindInfo(k.KIND_CONTACT, "contact", "con", people_pb2.Contact),
    KindInfo(
        k.KIND_STUDENT_CONTACT,
        "student_contact",
        "sco",
        people_pb2.StudentContact,
        _coded(relationship_code="relationship"),
    ),
    KindInfo(k.KIND_SUBJECT, "subject", "sub", groups_pb2.Subject),
    KindInfo(
        k.KIND_GROUP,
        "group",
        "grp",
        groups_pb2.Group,
        _coded(type_code="type"),
    ),
    KindInfo(
        k.KIND_GROUP_MEMBERSHIP,
        "group_membership",
        "mem",
        groups_pb2.GroupMembership,
    ),
    KindInfo(
        k.KIND_STAFF_ASSIGNMENT,
        "staff_assignment",
        "asg",
        groups_pb2.StaffAssignment,
        _coded(role_code="role"),
    ),
    KindInfo(
        k.KIND_ENROLMENT,
        "enrolment",
        "enr",
        roll_pb2.Enrolment,
        _coded(status_code="status"),
    ),
    KindInfo(k.KIND_ROOM, "room", "rom", timetable_pb2.Room),
    KindInfo(k.KIND_PERIOD, "period", "per", timetable_pb2.Period, _coded(type_code="type")),
    KindInfo(
        k.KIND_TIMETABLE_ENTRY,
        "timetable_entry",
        "tte",
        timetable_pb2.TimetableEntry,
    ),
    KindInfo(
        k.KIND_ATTENDANCE_CODE,
        "attendance_code",
        "acd",
        attendance_pb2.AttendanceCode,
        _coded(code="meaning"),
    ),
    KindInfo(
        k.KIND_ATTENDANCE_MARK,
        "attendance_mark",
        "mrk",
        attendance_pb2.AttendanceMark,
        _coded(code="meaning"),
        on="date",
    ),
    KindInfo(
        k.KIND_ASSESSMENT_RESULT, "assessment_result", "asr", assessment_pb2.AssessmentResult, on="entered_on"
    ),
    KindInfo(
        k.KIND_BEHAVIOUR_EVENT, "behaviour_event", "beh", behaviour_pb2.BehaviourEvent, on="occurred_at"
    ),
    KindInfo(k.KIND_ADMISSION, "admission", "adm", roll_pb2.Admission),
    KindInfo(k.KIND_LOCAL_CODE, "local_code", "lcd", roll_pb2.LocalCode),
)

KINDS: MappingProxyType[k.Kind.ValueType, KindInfo] = MappingProxyType({info.kind: info for info in _TABLE})
"""Every kind by its enum value."""

KINDS_BY_NAME: MappingProxyType[str, KindInfo] = MappingProxyType({info.name: info for info in _TABLE})
"""Every kind by its name, for example "group_membership"."""


def kind_info(kind: k.Kind.ValueType) -> KindInfo:
    """Return the table's row for ``kind``.

    Raises:
        ValueError: ``kind`` is ``KIND_UNSPECIFIED`` or not known to this release.
    """
    try:
        return KINDS[kind]
    except KeyError:
        raise ValueError(f"no such kind: {kind}") from None
