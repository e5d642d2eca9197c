"""Parsers of subjects, of classes and groups, and of who is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schoolgate.v1.groups_pb2 import Group, GroupMembership, StaffAssignment, Subject
from schoolgate.v1.kind_pb2 import (
    KIND_GROUP,
    KIND_GROUP_MEMBERSHIP,
    KIND_STAFF_ASSIGNMENT,
    KIND_SUBJECT,
)
from schoolgate_sdk import Parsed, Ref, Row, SourceKey
from schoolgate_wonde.parsers import keys
from schoolgate_wonde.rows import RowReader

CLASS: Final = "CLASS"
"""The type of what comes from the resource ``classes``: the resource says it, no field does."""


def parse_subject(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the subject."""
    reader = RowReader(row, settings, "subjects")
    key = reader.set_key(keys.SUBJECT, reader.key_id())
    return (Parsed(KIND_SUBJECT, key, Subject(code=reader.text("code"), name=reader.text("name"))),)


def parse_group(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the class, with its subject, or the group, with its type."""
    reader = RowReader(row, settings, "classes", "groups")
    key = reader.set_key(keys.GROUP, reader.resource, reader.key_id())
    is_class = reader.resource == "classes"
    group = Group(
        name=reader.text("name"),
        description=reader.text("description"),
        type_code=CLASS if is_class else reader.text("type"),
    )
    subject = reader.id("subject") if is_class else None
    refs = () if subject is None else (_subject_ref(subject),)
    return (Parsed(KIND_GROUP, key, group, refs),)


def _subject_ref(number: str) -> Ref:
    return Ref("subject_id", KIND_SUBJECT, SourceKey(keys.SUBJECT, (number,)))


def parse_membership(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the membership from a pupil nested in a class or group; no dates of it are known."""
    reader = RowReader(row, settings, "classes", "groups")
    group, student = reader.key_id("group_id"), reader.key_id("nested.id")
    key = reader.set_key(keys.MEMBERSHIP, reader.resource, group, student)
    refs = (keys.group_ref(reader.resource, group), keys.student_ref(student))
    return (Parsed(KIND_GROUP_MEMBERSHIP, key, GroupMembership(), refs),)


def parse_assignment(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the assignment from an employee nested in a class or group; neither role nor dates are known."""
    reader = RowReader(row, settings, "classes", "groups")
    group, employee = reader.key_id("group_id"), reader.key_id("nested.id")
    key = reader.set_key(keys.ASSIGNMENT, reader.resource, group, employee)
    refs = (keys.group_ref(reader.resource, group), keys.staff_ref(employee))
    return (Parsed(KIND_STAFF_ASSIGNMENT, key, StaffAssignment(), refs),)
