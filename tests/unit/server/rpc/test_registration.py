"""The largest registration that is accepted fits into a document, with all that is remembered beside it."""

from __future__ import annotations

from datetime import UTC, datetime

import bson
import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STUDENT, KIND_UNSPECIFIED
from schoolgate.v1.school_service_pb2 import CodeMapping, HoldThreshold, QuietHours, School
from schoolgate_bromcom.plugin import schoolgate_connector
from schoolgate_sdk import KINDS
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.schools import CHANGEABLE
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.registration import check_fields, check_parser_versions, check_settings
from schoolgate_server.store.store import Store
from tests.support.mongomock_handle import MockHandle

MONGODB_LIMIT = 16 * 1024 * 1024


def longest_meaning() -> tuple[str, str]:
    """Return the coded field and the meaning of it that are the longest together."""
    return max(
        (
            (f"{info.name}.{code}", meaning)
            for info in KINDS.values()
            for code, field in info.coded.items()
            for meaning in getattr(
                info.message.DESCRIPTOR.fields_by_name[field].enum_type, "values_by_name", ()
            )
        ),
        key=lambda pair: len(pair[0] + pair[1]),
    )


async def test_the_largest_school_fits_into_its_document() -> None:
    letter = "\U0001f989"  # four bytes of UTF-8
    field, meaning = longest_meaning()
    entry = max(
        (f"{info.name}.{field.name}" for info in KINDS.values() for field in info.message.DESCRIPTOR.fields),
        key=len,
    )
    connector = schoolgate_connector()
    school = School(
        school_id="a" * 63,
        display_name=letter * 200,
        connector=connector.name,
        settings={
            spec.name: letter * min(1000, 20_000 // len(connector.settings)) for spec in connector.settings
        },
        data_profile=[entry] * 1000,
        code_mappings=[
            CodeMapping(field=field, code=f"{number:04}" + letter * 28, meaning=meaning)
            for number in range(2000)
        ],
        time_zone="Europe/London",
        hold_thresholds=[
            HoldThreshold(
                kind=kind,
                deletions_fraction=0.1,
                deletions_count=(1 << 63) - 1,
                updates_fraction=0.1,
                updates_count=(1 << 63) - 1,
            )
            for kind in (KIND_UNSPECIFIED, *KINDS)
        ],
    )
    violations = Violations()
    check_fields(school, CHANGEABLE, violations)
    check_settings(school.settings, connector, violations)
    violations.raise_any()

    handle = MockHandle()
    store = Store.open(handle, "schoolgate", lambda: datetime(2026, 9, 1, tzinfo=UTC))
    await store.prepare()
    await store.schools.create(school, "request", b"d" * 16)
    for number in range(20):
        await store.schools.update(school, ["code_mappings"], f"request-{number}", b"d" * 16)
    document = handle.client["schoolgate"]["schools"].find_one()
    assert len(document["requests"]) == 20
    assert len(bson.encode(document)) < MONGODB_LIMIT * 3 / 4
    await store.close()


def told(*thresholds: HoldThreshold) -> list[str]:
    """Return the fields of a registration with ``thresholds`` that are refused."""
    violations = Violations()
    check_fields(School(hold_thresholds=thresholds), ["hold_thresholds"], violations)
    try:
        violations.raise_any()
    except ServiceError as error:
        return [violation.field for violation in error.violations]
    return []


@pytest.mark.parametrize(
    ("threshold", "field"),
    [
        (HoldThreshold(deletions_fraction=-0.01), ".deletions_fraction"),
        (HoldThreshold(deletions_fraction=1.01), ".deletions_fraction"),
        (HoldThreshold(updates_fraction=float("nan")), ".updates_fraction"),
        (HoldThreshold(updates_fraction=float("inf")), ".updates_fraction"),
        (HoldThreshold(deletions_count=-1), ".deletions_count"),
        (HoldThreshold(updates_count=-1), ".updates_count"),
        (HoldThreshold(kind=99, updates_count=1), ".kind"),  # type: ignore[arg-type]  # a later release's
        (HoldThreshold(kind=KIND_STUDENT), ""),
    ],
)
def test_a_malformed_threshold_is_refused_by_its_field(threshold: HoldThreshold, field: str) -> None:
    """Seen to fail without each of the checks; a fraction that is no number passes ``0 > x or x > 1``."""
    fine = HoldThreshold(kind=KIND_GROUP, deletions_fraction=0.0, updates_count=0)
    assert told(fine, threshold) == [f"school.hold_thresholds[1]{field}"]


def test_one_threshold_per_kind() -> None:
    zero, one = HoldThreshold(updates_fraction=0.0), HoldThreshold(updates_fraction=1.0)
    student = HoldThreshold(kind=KIND_STUDENT, updates_count=1)
    assert told(zero, student) == []
    assert told(zero, student, one) == ["school.hold_thresholds[2].kind"]
    assert told(student, student) == ["school.hold_thresholds[1].kind"]


def test_g18_a_list_of_thresholds_is_bounded_before_it_is_looked_at() -> None:
    assert told(*[HoldThreshold(deletions_count=-1)] * 100) == ["school.hold_thresholds"]


@pytest.mark.parametrize("given", [{}, {"attendance_marks": 1}, {"attendance_marks": 2, "students": 1}])
def test_parser_versions_that_there_are(given: dict[str, int]) -> None:
    violations = Violations()
    check_parser_versions(given, schoolgate_connector(), violations)
    violations.raise_any()


def test_a_parser_version_that_there_is_not_is_told_with_those_that_there_are() -> None:
    violations = Violations()
    check_parser_versions({"attendance_marks": 9}, schoolgate_connector(), violations)
    with pytest.raises(ServiceError) as caught:
        violations.raise_any()
    assert caught.value.reason == reasons.ERROR_REASON_PARSER_VERSION_UNKNOWN
    assert dict(caught.value.metadata) == {
        "dataset": "attendance_marks",
        "version": "9",
        "available": "1, 2",
    }
    assert caught.value.violations[0].field == "school.parser_versions['attendance_marks']"


def test_versions_of_a_dataset_that_there_is_not_are_told_with_the_datasets() -> None:
    violations = Violations()
    check_parser_versions({f"{n:04}": 1 for n in range(5000)}, schoolgate_connector(), violations)
    with pytest.raises(ServiceError) as caught:
        violations.raise_any()
    assert caught.value.reason == reasons.ERROR_REASON_REQUEST_INVALID
    assert "attendance_marks" in caught.value.message
    assert len(caught.value.violations) == len(schoolgate_connector().datasets) + 1


def test_settings_are_bounded_together() -> None:
    violations = Violations()
    connector = schoolgate_connector()
    given = {spec.name: "x" * 1000 for spec in connector.settings}
    assert len(given) > 20
    check_settings(given, connector, violations)
    with pytest.raises(ServiceError, match="20,000 characters"):
        violations.raise_any()


@pytest.mark.parametrize(
    ("hours", "field"),
    [
        (QuietHours(begins="8:30", ends="09:30"), "begins"),
        (QuietHours(begins="08:30", ends="24:01"), "ends"),
        (QuietHours(begins="24:00", ends="24:00"), "begins"),
        (QuietHours(begins="08:30", ends=""), "ends"),
        (QuietHours(begins="09:30", ends="08:30"), "ends"),
        (QuietHours(begins="08:30", ends="08:30"), "ends"),
        (QuietHours(begins="08:30", ends="09:30", weekdays=[0]), "weekdays"),
        (QuietHours(begins="08:30", ends="09:30", weekdays=[1, 1]), "weekdays"),
    ],
)
def test_malformed_quiet_hours_are_refused(hours: QuietHours, field: str) -> None:
    violations = Violations()
    check_fields(School(quiet_hours=[hours]), ["quiet_hours"], violations)
    with pytest.raises(ServiceError) as caught:
        violations.raise_any()
    assert [violation.field for violation in caught.value.violations] == [f"school.quiet_hours[0].{field}"]


def test_quiet_hours_that_make_sense_are_taken() -> None:
    violations = Violations()
    hours = [QuietHours(begins="08:30", ends="09:15"), QuietHours(begins="00:00", ends="23:59", weekdays=[7])]
    hours.append(QuietHours(begins="22:00", ends="24:00"))
    check_fields(School(quiet_hours=hours), ["quiet_hours"], violations)
    violations.raise_any()
