from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schoolgate_bromcom.plugin import schoolgate_connector
from schoolgate_bromcom.settings import BromcomSettings, application_of
from schoolgate_sdk import AuthInvalid, Connector, SchoolConnection, Unsupported


def test_defaults() -> None:
    settings = BromcomSettings.parse({"school_number": "20001"})
    assert settings.base_url == "https://api.bromcomcloud.com/v2"
    assert settings.page_size == 100_000
    assert settings.entities["Collections"] == "Collections"


def test_an_entity_can_have_another_name() -> None:
    settings = BromcomSettings.parse({"school_number": "1", "entity_groups": "TPCollections"})
    assert settings.entities["Collections"] == "TPCollections"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("school_number", ""),
        ("school_number", "twenty"),
        ("school_number", "-1"),
        ("school_number", "1 OR 1=1"),
        ("school_number", "٣"),
        ("page_size", "0"),
        ("page_size", "1e5"),
        ("person_id_is_student_id", "maybe"),
        ("base_url", "ftp://api.bromcomcloud.com"),
        ("base_url", "https://user:secret@api.bromcomcloud.com"),
        ("base_url", "https://api.bromcomcloud.com/v2?x=1"),
        ("base_url", "https://[nonsense/v2"),
        ("base_url", "api.bromcomcloud.com"),
        ("base_url", "http://api.bromcomcloud.com/v2"),
        ("base_url", "http://localhost.example.org/v2"),
        ("base_url", "http://0.0.0.0:8080/v2"),
        ("base_url", "https://a..b/v2"),
        ("base_url", "https://" + 64 * "a" + ".example.org/v2"),
        ("plain_http", "true"),
        ("read_attempts", "0"),
        ("pauses_for", "everybody"),
        ("request_timeout_seconds", "0"),
        ("request_timeout_seconds", "nan"),
        ("retry_wait_seconds", "inf"),
        ("max_response_mib", "999999"),
        ("entity_groups", "../admin"),
        ("entity_groups", "Collections?x="),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(Unsupported, match=f"setting {name} must"):
        BromcomSettings.parse({"school_number": "1"} | {name: value})


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8080/v2", "http://[::1]/v2", "http://LOCALHOST/v2", "https://elsewhere/v2"]
)
def test_this_machine_and_https_need_no_leave(base_url: str) -> None:
    assert BromcomSettings.parse({"school_number": "1", "base_url": base_url}).base_url == base_url


def test_plain_http_beyond_this_machine_must_be_asked_for() -> None:
    given = {"school_number": "1", "base_url": "http://bromcom:8080/v2"}
    with pytest.raises(Unsupported, match=r"setting base_url must be an https address.*plain_http"):
        BromcomSettings.parse(given | {"plain_http": "no"})
    assert BromcomSettings.parse(given | {"plain_http": "yes"}).base_url == given["base_url"]


async def test_g16_a_session_over_plain_http_is_refused_before_anything_is_sent() -> None:
    connection = SchoolConnection(
        "oak",
        {"school_number": "1", "base_url": "http://192.0.2.1/v2"},
        lambda: datetime(2026, 9, 12, tzinfo=UTC),
        {"application_id": "id", "application_secret": "s3cret"},
    )
    with pytest.raises(Unsupported, match="base_url") as caught:
        async with schoolgate_connector().open(connection):
            pytest.fail("the session opened")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "with space", "line\r\nX-Injected: 1", "£"])
def test_g16_a_malformed_secret_is_named_and_not_quoted(secret: str) -> None:
    with pytest.raises(AuthInvalid, match="application_secret") as caught:
        application_of({"application_id": "id", "application_secret": secret})
    assert not secret or secret not in str(caught.value)


def test_the_hook_describes_the_connector() -> None:
    connector = schoolgate_connector()
    assert isinstance(connector, Connector)
    assert connector.name == "bromcom"
    assert [dataset.name for dataset in connector.datasets] == [
        "students",
        "contacts",
        "staff",
        "subjects",
        "rooms",
        "periods",
        "groups",
        "group_memberships",
        "staff_assignments",
        "timetable_entries",
        "attendance_marks",
        "behaviour_types",
        "behaviour_events",
        "assessment_results",
    ]
    assert [dataset.name for dataset in connector.datasets if dataset.windowed] == [
        "attendance_marks",
        "behaviour_events",
        "assessment_results",
    ]
    assert {spec.name for spec in connector.settings if spec.required} == {"school_number"}
    assert {spec.name for spec in connector.settings if spec.endpoint} == {
        "base_url",
        "plain_http",
        "soap_url",
        "soap_write_url",
    }
    assert {spec.name for spec in connector.settings if not spec.scope} == {
        "plain_http",
        "time_zone",
        "event_date_sent_in",
        "page_size",
        "request_timeout_seconds",
        "read_attempts",
        "retry_wait_seconds",
        "pauses_for",
        "max_response_mib",
        "surface_fallback",
        "soap_timeout_seconds",
        "soap_max_response_mib",
        "soap_write_url",
        "result_write_operation",
        "result_assessment_types",
        "result_terms",
        "result_year_groups",
        "result_subject_id_is_subject_id",
    }
