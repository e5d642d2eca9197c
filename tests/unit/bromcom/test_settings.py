from __future__ import annotations

import pytest

from schoolgate_bromcom.plugin import schoolgate_connector
from schoolgate_bromcom.settings import BromcomSettings, check_credentials
from schoolgate_sdk import AuthInvalid, Connector, Unsupported


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
        ("read_attempts", "0"),
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


@pytest.mark.parametrize("secret", ["", "with space", "line\r\nX-Injected: 1", "£"])
def test_g16_a_malformed_secret_is_named_and_not_quoted(secret: str) -> None:
    with pytest.raises(AuthInvalid, match="application_secret") as caught:
        check_credentials({"application_id": "id", "application_secret": secret})
    assert not secret or secret not in str(caught.value)


def test_the_hook_describes_the_connector() -> None:
    connector = schoolgate_connector()
    assert isinstance(connector, Connector)
    assert connector.name == "bromcom"
    assert [dataset.name for dataset in connector.datasets] == [
        "students",
        "staff",
        "groups",
        "group_memberships",
        "staff_assignments",
        "attendance_marks",
    ]
    assert [dataset.name for dataset in connector.datasets if dataset.windowed] == ["attendance_marks"]
    assert {spec.name for spec in connector.settings if spec.required} == {"school_number"}
