"""What the Bromcom simulator shows of a world, under Bromcom's keys, worked out from the world alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple, TypeAlias

from google.protobuf.message import Message

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate.v1.people_pb2 import Contact, StudentContact
from schoolgate_sdk import KINDS
from schoolgate_sdk.testing.entities import ContactLink
from schoolgate_sdk.testing.world import Truth, World

Key: TypeAlias = tuple[str, tuple[int | str, ...]]
"""Namespace and parts."""

NOT_AT_BROMCOM: Mapping[k.Kind.ValueType, tuple[str, ...]] = {
    k.KIND_STUDENT: ("uln", "middle_names", "national_curriculum_year"),
    k.KIND_STAFF: ("middle_names",),
    k.KIND_STAFF_ASSIGNMENT: ("valid_from",),
    k.KIND_ADMISSION: ("admitted_on", "left_on"),
    k.KIND_LOCAL_CODE: ("active",),
    k.KIND_BEHAVIOUR_EVENT: ("type_name",),
}
"""Fields for which Bromcom's public field lists have no column."""

_SPACES = {
    k.KIND_STUDENT: "bromcom/student",
    k.KIND_ENROLMENT: "bromcom/enrolment",
    k.KIND_ADMISSION: "bromcom/admission",
    k.KIND_STAFF: "bromcom/staff",
    k.KIND_SUBJECT: "bromcom/subject",
    k.KIND_GROUP: "bromcom/collection",
    k.KIND_GROUP_MEMBERSHIP: "bromcom/collection_associate",
    k.KIND_STAFF_ASSIGNMENT: "bromcom/collection_executive",
    k.KIND_ROOM: "bromcom/location",
    k.KIND_PERIOD: "bromcom/calendar_model",
    k.KIND_TIMETABLE_ENTRY: "bromcom/collection_timetable",
    k.KIND_LOCAL_CODE: "bromcom/behaviour_event",
    k.KIND_BEHAVIOUR_EVENT: "bromcom/behaviour_event_record",
    k.KIND_ASSESSMENT_RESULT: "bromcom/assessment_result",
    k.KIND_ATTENDANCE_MARK: "bromcom/attendance",
}
_REFERENCES = {
    "student_id": "bromcom/student",
    "staff_id": "bromcom/staff",
    "group_id": "bromcom/collection",
    "period_id": "bromcom/calendar_model",
    "room_id": "bromcom/location",
}
"""References that Bromcom has; the subject of a class, a lesson or a result is none of them."""

_OF_THOSE_ON_ROLL = {k.KIND_STUDENT, k.KIND_ADMISSION}


class Shown(NamedTuple):
    """One entity: its message without meanings and references, and what those refer to by field."""

    kind: k.Kind.ValueType
    message: Message
    refs: dict[str, Key]

    def with_references(self, ids: Mapping[Key, str]) -> Message:
        """Return the message with the record ids that its references have in ``ids``."""
        message = type(self.message)()
        message.CopyFrom(self.message)
        for name, key in self.refs.items():
            setattr(message, name, ids[key])
        return message


def shown_at_bromcom(world: World, today: date | None = None) -> dict[Key, Shown]:
    """Return what there is to be read of ``world`` on a day, by default its present one, by key."""
    today = today or world.today
    gone = {
        held[:2] for held in world.enrolments.values() if held.valid_to is not None and held.valid_to <= today
    }
    on_roll = {held.pupil for held in world.enrolments.values() if held[:2] not in gone}
    hidden = {(pupil, first_day.isoformat()) for pupil, first_day in gone}
    found: dict[Key, Shown] = {}
    for truth in world.canonical():
        if truth.kind in _OF_THOSE_ON_ROLL and truth.key[0] not in on_roll:
            continue
        if truth.kind == k.KIND_ENROLMENT and truth.key in hidden:
            continue
        if truth.kind == k.KIND_LOCAL_CODE and truth.key[0] != "behaviour_type":
            continue
        if truth.kind in _SPACES:
            key, shown = _shown(truth, world)
            assert key not in found, "two entities of the world have one key at Bromcom"
            found[key] = shown
    for pupil in on_roll - set(world.withheld):
        found.update(_contacts(world, pupil))
    return found


def _shown(truth: Truth, world: World) -> tuple[Key, Shown]:
    message = type(truth.message)()
    message.CopyFrom(truth.message)
    for name in NOT_AT_BROMCOM.get(truth.kind, ()):
        message.ClearField(name)
    refs: dict[str, Key] = {}
    for ref in truth.refs:
        if ref.field in _REFERENCES:
            refs[ref.field] = (_REFERENCES[ref.field], ref.key)
    parts = _parts(truth, world)
    if truth.kind == k.KIND_GROUP_MEMBERSHIP:
        refs["student_id"] = ("bromcom/person", (parts[1],))
    if isinstance(message, AssessmentResult):
        subject = _subject_name(truth, world)
        if subject:
            message.subject_name = subject
    return (_SPACES[truth.kind], parts), Shown(truth.kind, message, refs)


def _parts(truth: Truth, world: World) -> tuple[int | str, ...]:
    """Return the parts of the key that the entity has at Bromcom."""
    parts = truth.key
    number = parts[0]
    match truth.kind:
        case k.KIND_GROUP_MEMBERSHIP:
            return parts[0], _person(world, parts[1]), parts[2]
        case k.KIND_STAFF_ASSIGNMENT:
            return parts[:3]
        case k.KIND_SUBJECT:
            return (list(world.subjects).index(str(number)) + 1,)
        case k.KIND_LOCAL_CODE:
            return (int(parts[1]),)
        case k.KIND_TIMETABLE_ENTRY:
            assert isinstance(number, int)
            entry = world.timetable[number]
            since = entry.valid_from.isoformat()
            return entry.group, entry.period, entry.staff or 0, entry.room or 0, since
        case k.KIND_ASSESSMENT_RESULT:
            assert isinstance(number, int)
            result = world.assessments[number]
            subject = _subject_name(truth, world)
            names = (subject, result.term, result.year_group)
            given = sum(1 << place for place, name in enumerate(names) if name)
            return result.pupil, result.assessment, given, *(name for name in names if name)
        case _:
            return parts


def _subject_name(truth: Truth, world: World) -> str | None:
    number = truth.key[0]
    assert isinstance(number, int)
    subject = world.assessments[number].subject
    return None if subject is None else world.subjects[subject].name


def _person(world: World, pupil: int | str) -> int:
    assert isinstance(pupil, int)
    return world.pupils[pupil].person_number


def _contacts(world: World, pupil: int) -> Iterator[tuple[Key, Shown]]:
    """Yield the first three contacts of a pupil, each with its link: Bromcom has columns for no more."""

    def place(link: ContactLink) -> tuple[bool, int, int]:
        return link.priority is None, link.priority or 0, link.contact

    links = sorted((link for link in world.contact_links.values() if link.pupil == pupil), key=place)
    for position, link in enumerate(links[:3], start=1):
        known = world.contacts[link.contact]
        names = (known.title, known.forename, known.surname)
        contact = Contact(
            full_name=" ".join(name for name in names if name),
            telephone=known.telephone,
            email=known.email,
        )
        edge = StudentContact(
            relationship_code=link.relationship_code, parental_responsibility=link.parental_responsibility
        )
        key: Key = ("bromcom/student_contact_position", (pupil, position))
        yield key, Shown(k.KIND_CONTACT, contact, {})
        refs: dict[str, Key] = {"student_id": ("bromcom/student", (pupil,)), "contact_id": key}
        yield (
            ("bromcom/student_contact_position_link", (pupil, position)),
            Shown(k.KIND_STUDENT_CONTACT, edge, refs),
        )


def without_meanings(kind: k.Kind.ValueType, message: Message) -> Message:
    """Return a copy without the canonical meanings of codes."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in KINDS[kind].coded.values():
        copy.ClearField(name)
    return copy
