"""The table of kinds covers what the API defines, and names only fields that exist."""

from __future__ import annotations

import pytest

from schoolgate.v1 import kind_pb2
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME, KindInfo, kind_info

ALL = sorted(KINDS.values(), key=lambda info: info.kind)
BODY = Record.DESCRIPTOR.oneofs_by_name["body"]


def _name(info: KindInfo) -> str:
    return info.name


def test_every_kind_has_a_row() -> None:
    assert set(KINDS) == set(kind_pb2.Kind.values()) - {kind_pb2.KIND_UNSPECIFIED}
    assert sorted(KINDS_BY_NAME) == sorted(info.name for info in ALL)
    assert all(KINDS[info.kind] is info for info in KINDS_BY_NAME.values())


def test_every_member_of_a_records_body_has_a_row_with_its_message() -> None:
    members = {field.name: field.message_type for field in BODY.fields}
    assert members == {info.name: info.message.DESCRIPTOR for info in ALL}


def test_names_and_prefixes_are_unique() -> None:
    assert len({info.name for info in ALL}) == len(ALL)
    assert len({info.prefix for info in ALL}) == len(ALL)


@pytest.mark.parametrize("info", ALL, ids=_name)
def test_a_row_is_named_as_its_enum_value(info: KindInfo) -> None:
    assert kind_pb2.Kind.Name(info.kind) == f"KIND_{info.name.upper()}"
    assert info.prefix.isalpha()
    assert len(info.prefix) == 3


@pytest.mark.parametrize("info", ALL, ids=_name)
def test_a_row_names_fields_that_exist(info: KindInfo) -> None:
    fields = info.message.DESCRIPTOR.fields_by_name
    assert info.on is None or fields[info.on].cpp_type == fields[info.on].CPPTYPE_STRING
    for code, meaning in info.coded.items():
        assert fields[code].cpp_type == fields[code].CPPTYPE_STRING
        assert fields[meaning].enum_type is not None


@pytest.mark.parametrize("info", ALL, ids=_name)
def test_every_meaning_of_a_code_is_in_the_row(info: KindInfo) -> None:
    """Enum fields are canonical meanings; the one that is not says which register a mark is from."""
    enums = {field.name for field in info.message.DESCRIPTOR.fields if field.enum_type is not None}
    assert enums - {"session"} == set(info.coded.values())


@pytest.mark.parametrize("info", ALL, ids=_name)
def test_a_kind_is_dated_by_a_span_a_day_or_not_at_all(info: KindInfo) -> None:
    fields = info.message.DESCRIPTOR.fields_by_name
    assert info.is_span == ("valid_from" in fields) == ("valid_to" in fields)
    assert not (info.is_span and info.on)


def test_references_are_the_fields_with_record_ids() -> None:
    assert kind_info(kind_pb2.KIND_GROUP_MEMBERSHIP).references == ("group_id", "student_id")
    assert kind_info(kind_pb2.KIND_STUDENT).references == ()


@pytest.mark.parametrize("kind", [kind_pb2.KIND_UNSPECIFIED, 999])
def test_an_unknown_kind_is_refused(kind: kind_pb2.Kind.ValueType) -> None:
    with pytest.raises(ValueError, match="no such kind"):
        kind_info(kind)
