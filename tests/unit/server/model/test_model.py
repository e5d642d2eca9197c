from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.attendance_pb2 import ATTENDANCE_MEANING_PRESENT, ATTENDANCE_MEANING_UNSPECIFIED
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.school_service_pb2 import CodeMapping
from schoolgate_sdk import KINDS, ConnectorError, EntityDenied, RateLimited, Transient, encode_key, source_key
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.model.codes import DEFAULT_MEANINGS, meaning_number, resolve_meanings
from schoolgate_server.model.failures import (
    ADVICE,
    LONGEST_ENTITY,
    LONGEST_MESSAGE,
    from_connector,
    from_defect,
)
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.model.ids import SCHOOLS, Minter, kind_of
from schoolgate_server.model.profile import CORE_PROFILE, dropped_fields, structural_fields

parts = st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(min_size=1), min_size=1, max_size=3).map(tuple)


def test_an_id_is_the_uuid5_that_the_documentation_says() -> None:
    encoded = encode_key(source_key("bromcom/student", 17))
    expected = uuid.uuid5(uuid.uuid5(SCHOOLS, "oak"), f"student\n{encoded}")
    assert Minter("oak").mint(kinds.KIND_STUDENT, encoded) == f"stu_{expected.hex}"


@given(parts, parts)
def test_g05_different_keys_have_different_ids(
    one: tuple[int | str, ...], other: tuple[int | str, ...]
) -> None:
    minter = Minter("oak")
    minted = [minter.mint(kinds.KIND_STUDENT, encode_key(source_key("a", *each))) for each in (one, other)]
    same = [(type(p), p) for p in one] == [(type(p), p) for p in other]
    assert (minted[0] == minted[1]) is same


def test_schools_and_kinds_do_not_share_ids() -> None:
    encoded = encode_key(source_key("a", 1))
    minted = {Minter(school).mint(kind, encoded) for school in ("oak", "elm") for kind in KINDS}
    assert len(minted) == 2 * len(KINDS)
    assert {kind_of(record_id) for record_id in minted} == set(KINDS)


def test_a_strange_id_has_no_kind() -> None:
    with pytest.raises(ValueError, match="no record id"):
        kind_of("nonsense")


@given(st.binary(), st.lists(parts.map(lambda each: encode_key(source_key("a", *each)))))
def test_the_digest_tells_keys_from_content(wire: bytes, keys: list[str]) -> None:
    assert content_digest(wire, keys) != content_digest(wire + b"x", keys)
    assert content_digest(wire, [*keys, "x"]) != content_digest(wire, keys)


def test_every_default_meaning_exists() -> None:
    assert (
        resolve_meanings(DEFAULT_MEANINGS)[kinds.KIND_ATTENDANCE_MARK]["code"]["/"]
        == ATTENDANCE_MEANING_PRESENT
    )


def test_attendance_has_the_whole_table_of_august_2024() -> None:
    assert len(DEFAULT_MEANINGS["attendance_mark.code"]) == 3 + 5 + 10 + 4 + 10 + 2 + 3


def test_the_school_overrides_the_connector_and_the_connector_the_default() -> None:
    field = "attendance_mark.code"
    school = CodeMapping(field=field, code="Z", meaning="ATTENDANCE_MEANING_PRESENT")
    connector = {field: {"Z": "ATTENDANCE_MEANING_NOT_POSSIBLE", "!": "ATTENDANCE_MEANING_PRESENT"}}
    codes = resolve_meanings(connector, [school])[kinds.KIND_ATTENDANCE_MARK]["code"]
    assert (codes["Z"], codes["!"]) == (ATTENDANCE_MEANING_PRESENT, ATTENDANCE_MEANING_PRESENT)
    assert ATTENDANCE_MEANING_UNSPECIFIED not in codes.values()


@pytest.mark.parametrize(
    ("field", "meaning", "says"),
    [
        ("attendance_mark.colour", "X", "no coded field"),
        ("lunch.code", "X", "no coded field"),
        ("attendance_mark.code", "PRESENT", "ATTENDANCE_MEANING_PRESENT"),
    ],
)
def test_a_wrong_mapping_says_what_there_is(field: str, meaning: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        meaning_number(field, meaning)


def test_the_profile_denies_by_default() -> None:
    dropped = dropped_fields([])
    for kind, info in KINDS.items():
        kept = {field.name for field in info.message.DESCRIPTOR.fields} - set(dropped[kind])
        assert kept == structural_fields(info)


def test_the_core_profile_has_no_special_category_data_and_no_free_text() -> None:
    dropped = dropped_fields(CORE_PROFILE)
    assert {"ethnicity_code", "sen_provision_code", "sen_provision", "in_care", "pupil_premium"} <= set(
        dropped[kinds.KIND_STUDENT]
    )
    assert "comment" in dropped[kinds.KIND_ATTENDANCE_MARK]
    assert "meaning" not in dropped[kinds.KIND_ATTENDANCE_MARK]


@pytest.mark.parametrize(
    ("entry", "says"), [("pupil.surname", "names no kind"), ("student.shoe", "no field")]
)
def test_a_wrong_profile_entry_says_what_there_is(entry: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        dropped_fields([entry])


def test_shaping_drops_what_a_connector_smuggles_in() -> None:
    shaper = Shaper(resolve_meanings({}), dropped_fields(["student.surname"]))
    message = Student.FromString(Student(surname="S", upn="U").SerializeToString() + b"\xfa\x3f\x03abc")
    assert shaper.shape(kinds.KIND_STUDENT, message) == ()
    assert message.SerializeToString() == Student(surname="S").SerializeToString()


def test_every_failure_type_has_advice() -> None:
    assert set(ADVICE) == set(failures.FailureType.values()) - {failures.FAILURE_TYPE_UNSPECIFIED}


def test_g16_a_connectors_message_loses_its_secrets_and_its_length() -> None:
    error = Transient("the MIS refused hunter2 " + "x" * 10_000)
    message = from_connector(error, "bromcom", ["hunter2", ""]).message
    assert message.startswith("the MIS refused [secret] xxx")
    assert len(message) == LONGEST_MESSAGE


def test_g16_a_connectors_entity_and_overlapping_secrets_are_taken_out_too() -> None:
    error = Transient("key-of-oak and key", entity="Students?key=key-of-oak&" + "x" * 500)
    failure = from_connector(error, "bromcom", ["key", "key-of-oak"])
    assert failure.message == "[secret] and [secret]"
    assert failure.entity.startswith("Students?[secret]=[secret]&xxx")
    assert len(failure.entity) == LONGEST_ENTITY


@pytest.mark.parametrize(
    "until",
    [
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-23, minutes=-59))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(2026, 9, 1),  # noqa: DTZ001 - a time without a zone is the case
    ],
)
def test_a_pause_until_no_moment_is_a_pause_without_an_end(until: datetime) -> None:
    found = from_connector(RateLimited("wait", until=until), "mis")
    assert found.type == failures.FAILURE_TYPE_RATE_LIMITED
    assert not found.HasField("retry_at")


def test_a_pause_keeps_its_end() -> None:
    until = datetime(2026, 9, 1, 12, tzinfo=UTC)
    found = from_connector(RateLimited("wait", until=until), "mis")
    assert found.retry_at.ToDatetime(tzinfo=UTC) == until


@pytest.mark.parametrize("odd", [None, 7, b"x", ["x"], object()])
def test_g18_what_is_no_text_breaks_no_failure(odd: Any) -> None:
    """Seen to fail without each look at a type: the failure failed itself, and nobody was named."""
    found = from_connector(EntityDenied(odd, entity=odd), "mis")
    assert (found.type, found.message) == (failures.FAILURE_TYPE_PERMISSION, "EntityDenied")
    assert (found.connector, found.HasField("entity")) == ("mis", False)
    assert not from_connector(RateLimited("wait", until=odd), "mis").HasField("retry_at")


@pytest.mark.parametrize("stated", [None, 99, "TRANSIENT"])
def test_g18_an_error_of_no_type_is_a_defect(stated: Any) -> None:
    error = ConnectorError("of no type")
    assert from_connector(error, "mis").type == failures.FAILURE_TYPE_INTERNAL
    error.failure_type = stated  # type: ignore[misc]
    assert from_connector(error, "mis").type == failures.FAILURE_TYPE_INTERNAL


def test_g16_a_defect_is_named_by_its_place_and_not_by_its_text() -> None:
    try:
        raise RuntimeError("Ora Klein, secret")
    except RuntimeError as error:
        failure = from_defect(error, "bromcom")
    assert "RuntimeError at test_model.py:" in failure.message
    assert "Klein" not in failure.message
