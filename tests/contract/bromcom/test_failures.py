"""Every way in which Bromcom can fail gives the error whose type says what happens next."""

from __future__ import annotations

import traceback
from datetime import date, timedelta

import pytest

from schoolgate_sdk import (
    AuthInvalid,
    ConnectorError,
    EntityDenied,
    EntityGrantState,
    Incomplete,
    RateLimited,
    SchemaChanged,
    Transient,
    Unsupported,
)
from schoolgate_sdk.http_retry import retry_after
from schoolgate_sdk.testing.world import World
from tests.contract.bromcom.conftest import NOW, Mis, StartMis, read_all

LASTING: list[tuple[dict[str, object], type[ConnectorError]]] = [
    ({"kind": "status", "status": 500}, Transient),
    ({"kind": "status", "status": 503}, Transient),
    ({"kind": "invalid_json"}, Transient),
    ({"kind": "success_false"}, Transient),
    ({"kind": "null_data"}, Transient),
    ({"kind": "reset"}, Transient),
    ({"kind": "rate_limit", "retry_after": "0"}, RateLimited),
    ({"kind": "rate_limit"}, RateLimited),
    ({"kind": "status", "status": 400}, SchemaChanged),
    ({"kind": "status", "status": 302}, SchemaChanged),
    ({"kind": "revoke"}, EntityDenied),
]


def _requests(mis: Mis) -> int:
    requests = mis.api.log.as_json()["requests"]
    assert isinstance(requests, int)
    return requests


@pytest.mark.parametrize(("fault", "error"), LASTING)
async def test_g16_what_lasts_is_raised_by_its_type_and_quotes_nothing(
    mis: Mis, fault: dict[str, object], error: type[ConnectorError]
) -> None:
    mis.fault(**fault, entity="StudentFlatView", page=0, times=None)
    session = await mis.session()
    with pytest.raises(error) as caught:
        await read_all(session, "students")
    assert type(caught.value) is error
    assert caught.value.entity == "StudentFlatView"
    told = "".join(traceback.format_exception(caught.value))
    assert "the-secret" not in told
    for pupil in list(mis.world.pupils.values())[:20]:
        assert pupil.upn is None or pupil.upn not in told
    retried = issubclass(error, Transient | RateLimited)
    assert _requests(mis) == (3 if retried else 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "invalid_json"},
        {"kind": "success_false"},
        {"kind": "null_data"},
        {"kind": "reset"},
        {"kind": "rate_limit"},
        {"kind": "rate_limit", "retry_after": "0"},
        {"kind": "rate_limit", "retry_after": "nonsense"},
    ],
)
async def test_what_passes_is_waited_out(mis: Mis, fault: dict[str, object]) -> None:
    mis.fault(**fault, entity="StudentFlatView", times=2)
    rows, end = await read_all(await mis.session(), "students")
    assert len(rows) >= 60
    assert end.contradiction is None


async def test_a_slow_answer_is_a_timeout(mis: Mis) -> None:
    mis.fault(kind="slow", seconds=5, entity="Staff", times=None)
    session = await mis.session(request_timeout_seconds="0.1", read_attempts="2")
    with pytest.raises(Transient, match="in time"):
        await read_all(session, "staff")


async def test_nobody_there(mis: Mis) -> None:
    session = await mis.session(base_url="http://127.0.0.1:1/v2")
    with pytest.raises(Transient, match="connection"):
        await read_all(session, "staff")


@pytest.mark.parametrize("name", ["application_id", "application_secret"])
async def test_wrong_credentials(mis: Mis, name: str) -> None:
    credentials = {"application_id": "the-id", "application_secret": "the-secret"} | {name: "wrong"}
    session = await mis.session(credentials=credentials)
    with pytest.raises(AuthInvalid):
        await read_all(session, "staff")
    with pytest.raises(AuthInvalid):
        await session.grants(["Staff"])
    assert _requests(mis) == 2


async def test_missing_credentials_are_found_before_anything_is_sent(mis: Mis) -> None:
    with pytest.raises(AuthInvalid, match="application_id"):
        await mis.session(credentials={})
    assert _requests(mis) == 0


async def test_an_unknown_school_number(mis: Mis) -> None:
    with pytest.raises(Transient, match="did not succeed"):
        await read_all(await mis.session(school_number="9"), "staff")


async def test_an_entity_that_bromcom_does_not_have(mis: Mis) -> None:
    session = await mis.session(entity_groups="TPCollections")
    with pytest.raises(Unsupported) as caught:
        await read_all(session, "groups")
    assert caught.value.entity == "TPCollections"


async def test_columns_that_are_gone(mis: Mis) -> None:
    session = await mis.session(entity_staff="StudentFlatView")
    with pytest.raises(SchemaChanged, match="staffId"):
        await read_all(session, "staff")


async def test_an_entity_revoked_in_the_middle_of_a_read(mis: Mis) -> None:
    mis.fault(kind="revoke", entity="BasicAttendance", page=1)
    with pytest.raises(EntityDenied):
        await read_all(await mis.session(), "attendance_marks")


async def test_a_pause_longer_than_a_read_waits_is_handed_on_at_once(mis: Mis) -> None:
    mis.fault(kind="rate_limit", entity="Staff", retry_after="120")
    with pytest.raises(RateLimited) as caught:
        await read_all(await mis.session(), "staff")
    assert caught.value.until == NOW + timedelta(seconds=120)
    assert _requests(mis) == 1


async def test_a_pause_until_a_date(mis: Mis) -> None:
    mis.fault(kind="rate_limit", entity="Staff", retry_after="Sat, 12 Sep 2026 09:00:00 GMT")
    with pytest.raises(RateLimited) as caught:
        await read_all(await mis.session(), "staff")
    assert caught.value.until == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    "header",
    [
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Fri, 31 Dec 2026 23:59:59 +99999999999999999999",
        "soon",
        "-5",
        "",
    ],
)
def test_a_pause_until_no_moment_is_none(header: str) -> None:
    assert retry_after(header, NOW) is None


@pytest.mark.parametrize(
    "header", ["86401", "9" * 9, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 14 Sep 2026 00:00:00"]
)
def test_a_pause_of_more_than_a_day_is_one_of_a_day(header: str) -> None:
    assert retry_after(header, NOW) == NOW + timedelta(days=1)


async def test_g18_an_oversized_answer_is_cut_off(start_mis: StartMis) -> None:
    mis = await start_mis(World.build(seed=1, pupils=400, marks_until=date(2026, 9, 30)), page_size=100_000)
    session = await mis.session(max_response_mib="1")
    with pytest.raises(Incomplete, match="1 MiB"):
        await read_all(session, "attendance_marks")


async def test_grants(mis: Mis) -> None:
    mis.school.granted.discard("Staff")
    session = await mis.session(entity_groups="TPCollections")
    assert await session.grants(["StudentFlatView", "Staff", "Collections"]) == {
        "StudentFlatView": EntityGrantState.GRANTED,
        "Staff": EntityGrantState.DENIED,
        "Collections": EntityGrantState.UNKNOWN_ENTITY,
    }
