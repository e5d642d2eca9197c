"""What the Bromcom simulator shows of a world, under Bromcom's keys, worked out from the world alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from google.protobuf.message import Message

from schoolgate.v1 import kind_pb2 as k
from schoolgate_sdk import KINDS
from schoolgate_sdk.testing.world import Truth, World

Key: TypeAlias = tuple[str, tuple[int | str, ...]]
"""Namespace and parts."""

NOT_AT_BROMCOM: Mapping[k.Kind.ValueType, tuple[str, ...]] = {
    k.KIND_STUDENT: ("uln", "middle_names", "national_curriculum_year"),
    k.KIND_STAFF: ("middle_names",),
    k.KIND_STAFF_ASSIGNMENT: ("valid_from",),
}
"""Fields for which Bromcom's public field lists have no column."""

_SPACES = {
    k.KIND_STUDENT: "bromcom/student",
    k.KIND_ENROLMENT: "bromcom/enrolment",
    k.KIND_STAFF: "bromcom/staff",
    k.KIND_GROUP: "bromcom/collection",
    k.KIND_GROUP_MEMBERSHIP: "bromcom/collection_associate",
    k.KIND_STAFF_ASSIGNMENT: "bromcom/collection_executive",
    k.KIND_ATTENDANCE_MARK: "bromcom/attendance",
}
_REFERENCES = {
    "student_id": "bromcom/student",
    "staff_id": "bromcom/staff",
    "group_id": "bromcom/collection",
}


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


def shown_at_bromcom(world: World) -> dict[Key, Shown]:
    """Return what there is to be read of ``world`` on its present day, by key."""
    gone = {
        held[:2]
        for held in world.enrolments.values()
        if held.valid_to is not None and held.valid_to <= world.today
    }
    on_roll = {held.pupil for held in world.enrolments.values() if held[:2] not in gone}
    hidden = {(pupil, first_day.isoformat()) for pupil, first_day in gone}
    found: dict[Key, Shown] = {}
    for truth in world.canonical():
        if truth.kind == k.KIND_STUDENT and truth.key[0] not in on_roll:
            continue
        if truth.kind == k.KIND_ENROLMENT and truth.key in hidden:
            continue
        if truth.kind in _SPACES:
            key, shown = _shown(truth, world)
            assert key not in found, "two entities of the world have one key at Bromcom"
            found[key] = shown
    return found


def _shown(truth: Truth, world: World) -> tuple[Key, Shown]:
    parts = truth.key
    if truth.kind == k.KIND_GROUP_MEMBERSHIP:
        parts = (parts[0], _person(world, parts[1]), parts[2])
    elif truth.kind == k.KIND_STAFF_ASSIGNMENT:
        parts = parts[:3]
    message = type(truth.message)()
    message.CopyFrom(truth.message)
    for name in NOT_AT_BROMCOM.get(truth.kind, ()):
        message.ClearField(name)
    refs: dict[str, Key] = {}
    for ref in truth.refs:
        if ref.field in _REFERENCES:
            refs[ref.field] = (_REFERENCES[ref.field], ref.key)
    if truth.kind == k.KIND_GROUP_MEMBERSHIP:
        refs["student_id"] = ("bromcom/person", (parts[1],))
    return (_SPACES[truth.kind], parts), Shown(truth.kind, message, refs)


def _person(world: World, pupil: int | str) -> int:
    assert isinstance(pupil, int)
    return world.pupils[pupil].person_number


def without_meanings(kind: k.Kind.ValueType, message: Message) -> Message:
    """Return a copy without the canonical meanings of codes."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in KINDS[kind].coded.values():
        copy.ClearField(name)
    return copy
