"""Parsers of groups, their members and their staff."""

from __future__ import annotations

from collections.abc import Mapping

from schoolgate.v1.groups_pb2 import Group, GroupMembership, StaffAssignment, Subject
from schoolgate.v1.kind_pb2 import (
    KIND_GROUP,
    KIND_GROUP_MEMBERSHIP,
    KIND_STAFF,
    KIND_STAFF_ASSIGNMENT,
    KIND_SUBJECT,
)
from schoolgate_bromcom import values
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.parsers import keys
from schoolgate_sdk import KeyPart, Parsed, Ref, Row, SourceKey


def parse_group(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the group from a row of ``Collections``."""
    reader = RowReader(row)
    key = reader.key = SourceKey(keys.COLLECTION, (reader.key_number("collectionID"),))
    group = Group(
        name=reader.group_name("name"),
        description=reader.text("description"),
        type_code=reader.code("collectionTypeName"),
        valid_from=reader.day("startDate"),
        valid_to=reader.day_after_last("endDate"),
    )
    return (Parsed(KIND_GROUP, key, group),)


def parse_group_membership(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the membership from a row of ``CollectionAssociates``, which names the pupil by ``personID``."""
    reader = RowReader(row)
    group = reader.key_number("collectionID")
    person = reader.key_number("personID")
    valid_from = reader.day("startDate")
    key = reader.key = SourceKey(keys.COLLECTION_ASSOCIATE, (group, person, *keys.start(valid_from)))
    membership = GroupMembership(valid_from=valid_from, valid_to=reader.day_after_last("endDate"))
    refs = (*keys.group_ref(group), *keys.student_ref(keys.PERSON, person))
    return (Parsed(KIND_GROUP_MEMBERSHIP, key, membership, refs),)


def parse_staff_assignment(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the assignment from a row of ``CollectionExecutives``, which has no start date."""
    reader = RowReader(row)
    group = reader.key_number("collectionID")
    staff = reader.key_number("staffID")
    role = reader.value("collectionRoleTypeDescription", values.short_name)
    parts: tuple[KeyPart, ...] = (group, staff) if role is None else (group, staff, role)
    key = reader.key = SourceKey(keys.COLLECTION_EXECUTIVE, parts)
    assignment = StaffAssignment(role_code=role, valid_to=reader.day_after_last("endDate"))
    refs = (*keys.group_ref(group), Ref("staff_id", KIND_STAFF, SourceKey(keys.STAFF, (staff,))))
    return (Parsed(KIND_STAFF_ASSIGNMENT, key, assignment, refs),)


def parse_subject(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the subject from a row of ``Subjects``, whose columns the school's settings name."""
    reader = RowReader(row)
    number = reader.key_number(settings["column_subject_id"])
    key = reader.key = SourceKey(keys.SUBJECT, (number,))
    subject = Subject(
        code=reader.configured_text(settings.get("column_subject_code", "")),
        name=reader.configured_text(settings.get("column_subject_name", "")),
    )
    return (Parsed(KIND_SUBJECT, key, subject),)
