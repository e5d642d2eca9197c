"""The surface of each dataset: chosen per school and dataset, with the other one where it refuses."""

from __future__ import annotations

from datetime import date

import pytest

from schoolgate_bromcom.surfaces import Surface, SurfaceSettings
from schoolgate_sdk import (
    AuthInvalid,
    EntityDenied,
    EntityGrantState,
    Incomplete,
    Scope,
    Transient,
    Unsupported,
    source_key,
)
from schoolgate_sdk.testing.world import World
from tests.contract.bromcom.conftest import ACCOUNT, CREDENTIALS, Mis, StartMis, read_all

BOTH = {**CREDENTIALS, **ACCOUNT}
STUDENT = [source_key("bromcom/student", 1)]


@pytest.fixture
async def mis(start_mis: StartMis) -> Mis:
    """A school that has both, reads from the Partner API, and may fall back."""
    found = await start_mis(World.build(seed=11, pupils=60, marks_until=date(2026, 9, 19)))
    found.credentials = dict(BOTH)
    found.settings["surface_fallback"] = "yes"
    return found


def asked(mis: Mis) -> set[str]:
    """Return the surfaces that were asked so far."""
    return {sent.surface for sent in mis.recorded}


async def test_every_dataset_goes_its_own_way(mis: Mis) -> None:
    session = await mis.session(surface="soap", surface_staff="partner")
    await read_all(session, "staff")
    assert session.read_from("staff") == "partner"
    assert asked(mis) == {"partner"}
    await read_all(session, "groups")
    assert session.read_from("groups") == "soap"
    assert asked(mis) == {"partner", "soap"}


async def test_the_partner_api_is_the_default_and_soap_is_never_asked(mis: Mis) -> None:
    session = await mis.session()
    for dataset in ("students", "staff", "groups"):
        await read_all(session, dataset)
        assert session.read_from(dataset) == "partner"
    assert asked(mis) == {"partner"}


@pytest.mark.parametrize(("own", "other"), [("partner", "soap"), ("soap", "partner")])
async def test_what_one_surface_denies_the_other_gives(mis: Mis, own: str, other: str) -> None:
    """Seen to fail with an order of one surface."""
    mis.revoke("Staff", own)
    session = await mis.session(surface=own)
    rows, _ = await read_all(session, "staff")
    assert rows
    assert session.read_from("staff") == other
    await read_all(session, "groups")
    assert session.read_from("groups") == own
    assert await session.grants(["Staff", "Collections"]) == {
        "Staff": EntityGrantState.GRANTED,
        "Collections": EntityGrantState.GRANTED,
    }
    asked_before = len(mis.recorded)
    probes = {probe.surface: probe for probe in await session.probe(["Staff", "Collections"])}
    assert len(mis.recorded) == asked_before + 1, "only SOAP is asked, for the names of its entities"
    assert probes[own].grants["Staff"] is EntityGrantState.DENIED
    assert probes[other].grants["Staff"] is EntityGrantState.GRANTED
    assert probes["partner"].entities is None
    assert probes["partner"].grants.get("Collections") is (
        EntityGrantState.GRANTED if own == "partner" else None
    )
    listed = probes["soap"].entities
    assert listed is not None
    assert ("Staff" in listed) == (own == "partner")


async def test_what_the_partner_api_does_not_know_comes_over_soap(mis: Mis) -> None:
    session = await mis.session(entity_groups="TPCollections", soap_entity_groups="Collections")
    rows, _ = await read_all(session, "groups")
    assert (len(rows) > 0, session.read_from("groups")) == (True, "soap")


async def test_nothing_falls_back_where_the_school_does_not_want_it(mis: Mis) -> None:
    mis.revoke("Staff", "partner")
    with pytest.raises(EntityDenied):
        await read_all(await mis.session(surface_fallback="no"), "staff")
    mis.credentials = dict(CREDENTIALS)
    with pytest.raises(EntityDenied):
        await read_all(await mis.session(), "staff")
    assert asked(mis) == {"partner"}


async def test_where_both_refuse_the_own_refusal_counts(mis: Mis) -> None:
    mis.revoke("Staff", "soap")
    session = await mis.session(entity_staff="TPStaff", soap_entity_staff="Staff")
    with pytest.raises(Unsupported):
        await read_all(session, "staff")
    assert await session.grants(["Staff"]) == {"Staff": EntityGrantState.UNKNOWN_ENTITY}


async def test_a_wrong_account_does_not_hide_a_missing_grant(mis: Mis) -> None:
    """An account that is refused would end the whole run, though it is only the second choice."""
    mis.revoke("Staff", "partner")
    session = await mis.session(credentials={**BOTH, "soap_password": "wrong"})
    with pytest.raises(EntityDenied):
        await read_all(session, "staff")
    assert await session.grants(["Staff"]) == {"Staff": EntityGrantState.DENIED}
    probes = await session.probe(["Staff"])
    assert probes[0].grants == {"Staff": EntityGrantState.DENIED}
    failures = {probe.surface: type(probe.failure) for probe in probes}
    assert failures == {"partner": type(None), "soap": AuthInvalid}


async def test_an_outage_is_no_reason_to_read_elsewhere(mis: Mis) -> None:
    mis.fault(kind="status", status=503, surface="partner", entity="Staff", times=None)
    with pytest.raises(Transient):
        await read_all(await mis.session(), "staff")
    assert asked(mis) == {"partner"}


async def test_g01_a_grant_revoked_in_the_middle_of_a_read_ends_it(mis: Mis) -> None:
    """Half of a snapshot from each surface is none. Seen to fail where every refusal is fallen back from."""
    mis.fault(kind="revoke", entity="BasicAttendance", page=1, surface="partner")
    session = await mis.session()
    with pytest.raises(EntityDenied):
        await read_all(session, "attendance_marks")
    assert asked(mis) == {"partner"}


async def test_a_read_is_resumed_where_it_began(mis: Mis) -> None:
    session = await mis.session()
    pages = session.read(Scope("attendance_marks", "2026/27"))
    cursor = (await anext(pages)).cursor
    mis.revoke("BasicAttendance", "partner")
    with pytest.raises(EntityDenied):
        await read_all(session, "attendance_marks", cursor=cursor)
    over_soap = await mis.session(surface="soap", surface_fallback="no", credentials={**ACCOUNT})
    with pytest.raises(Incomplete):
        await read_all(over_soap, "attendance_marks", cursor=cursor)


async def test_a_grant_revoked_between_two_reads_is_fallen_back_from(mis: Mis) -> None:
    session = await mis.session()
    await read_all(session, "staff")
    assert session.read_from("staff") == "partner"
    mis.revoke("Staff", "partner")
    await read_all(session, "staff")
    assert session.read_from("staff") == "soap"


async def test_rows_are_read_back_where_they_were_read(mis: Mis) -> None:
    session = await mis.session()
    mis.revoke("StudentFlatView", "partner")
    await read_all(session, "students")
    mis.recorded.clear()
    assert len(await session.read_back(Scope("students", "2026/27"), STUDENT)) >= 1
    assert asked(mis) == {"soap"}
    fresh = await mis.session()
    with pytest.raises(EntityDenied):
        await fresh.read_back(Scope("students", "2026/27"), STUDENT)


@pytest.mark.parametrize(
    ("surface", "credentials", "missing"),
    [
        ("partner", ACCOUNT, "application_id"),
        ("soap", CREDENTIALS, "soap_username"),
        ("partner", {}, "application_id"),
    ],
)
async def test_the_credentials_of_a_surface_in_use_are_needed(
    mis: Mis, surface: str, credentials: dict[str, str], missing: str
) -> None:
    with pytest.raises(AuthInvalid, match=missing):
        await mis.session(surface=surface, credentials=credentials)


async def test_a_school_with_an_account_alone_needs_no_partner(mis: Mis) -> None:
    session = await mis.session(surface="soap", credentials=dict(ACCOUNT))
    await read_all(session, "students")
    assert session.read_from("students") == "soap"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"surface": "odata"}, "surface"),
        ({"surface_staff": "both"}, "surface_staff"),
        ({"surface_fallback": "perhaps"}, "surface_fallback"),
        ({"soap_url": "http://192.0.2.1/x.asmx"}, "soap_url"),
        ({"soap_url": "https://user@host/x.asmx"}, "soap_url"),
        ({"soap_timeout_seconds": "0"}, "soap_timeout_seconds"),
        ({"soap_max_response_mib": "9000"}, "soap_max_response_mib"),
        ({"soap_entity_staff": "Staff; DROP"}, "soap_entity_staff"),
    ],
)
def test_a_malformed_setting_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        SurfaceSettings.parse(given)


def test_the_defaults_are_the_vendors() -> None:
    settings = SurfaceSettings.parse({})
    assert settings.soap_url.startswith("https://cloudmis.bromcom.com/")
    assert settings.in_use == {Surface.PARTNER}
    assert settings.soap_timeout == 600
    assert settings.soap_max_response == 2 << 30
