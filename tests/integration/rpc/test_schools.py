from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate.v1.kind_pb2 import KIND_STUDENT, KIND_UNSPECIFIED
from schoolgate_sdk import FieldSpec
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Client, Served, new_request_id, refused, served

UUID = "0b7e6d0e-2f0a-4d57-9b3c-5a7a3ad2b1c4"
SECRET = "correct horse battery staple"


@pytest.fixture
async def running(store: Store, mis: ScriptedMis) -> Any:
    connector = scripted_connector(mis)
    object.__setattr__(
        connector,
        "settings",
        (
            FieldSpec("host", "The MIS.", required=True, endpoint=True),
            FieldSpec("port", "Port.", default="443", endpoint=True),
            FieldSpec("timeout", "Seconds.", scope=False),
        ),
    )
    object.__setattr__(connector, "credentials", (FieldSpec("secret", "The secret.", required=True),))
    async with served(store, connector, clock=TickingClock()) as running:
        yield running


def creation(**changes: Any) -> s.CreateSchoolRequest:
    request = s.CreateSchoolRequest(
        school=s.School(school_id="oak", connector="scripted", settings={"host": "mis.example"}),
        request_id=new_request_id(),
    )
    request.school.MergeFrom(s.School(**changes))
    return request


def setting(credentials: dict[str, str]) -> s.SetCredentialsRequest:
    return s.SetCredentialsRequest(school_id="oak", credentials=credentials, request_id=new_request_id())


def update(settings: dict[str, str], **school: Any) -> s.UpdateSchoolRequest:
    return s.UpdateSchoolRequest(
        school=s.School(school_id="oak", settings=settings, **school),
        update_mask=FieldMask(paths=["settings"]),
        request_id=new_request_id(),
    )


async def test_creation_fills_in_what_is_left_out(client: Client) -> None:
    request = creation(display_name="Oak", etag="mine", has_credentials=True)
    school = (await client.schools.CreateSchool(request)).school
    assert list(school.data_profile) == list(CORE_PROFILE)
    assert school.time_zone == "Europe/London"
    assert not school.has_credentials
    assert school.etag not in {"", "mine"}
    got = await client.schools.GetSchool(s.GetSchoolRequest(school_id="oak"))
    assert got.school == school


async def test_a_repeated_creation_returns_the_first_ones_result(client: Client) -> None:
    request = creation()
    request.credentials["secret"] = SECRET
    first = await client.schools.CreateSchool(request)
    assert first.school.has_credentials
    assert await client.schools.CreateSchool(request) == first
    request.school.display_name = "Another"
    assert (await refused(client.schools.CreateSchool(request))).reason == "REQUEST_ID_REUSED"
    request.request_id = new_request_id()
    failure = await refused(client.schools.CreateSchool(request))
    assert (failure.reason, failure.metadata) == ("SCHOOL_ALREADY_EXISTS", {"school_id": "oak"})


async def test_a_late_repetition_does_not_bring_old_credentials_back(running: Served, store: Store) -> None:
    client = running.client
    request = creation()
    request.credentials["secret"] = SECRET
    await client.schools.CreateSchool(request)
    await client.schools.SetCredentials(
        s.SetCredentialsRequest(school_id="oak", credentials={"secret": "newer"}, request_id=new_request_id())
    )
    await client.schools.CreateSchool(request)
    assert await store.credentials.get("oak") == {"secret": "newer"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"school_id": "Oak"}, "school.school_id"),
        ({"school_id": "-oak"}, "school.school_id"),
        ({"school_id": "a" * 64}, "school.school_id"),
        ({"display_name": "a\nb"}, "school.display_name"),
        ({"display_name": "x" * 201}, "school.display_name"),
        ({"settings": {"colour": "red"}}, "school.settings"),
        ({"settings": {"host": ""}}, "school.settings['host']"),
        ({"settings": {"host": "x" * 1001}}, "school.settings['host']"),
        ({"data_profile": ["student.shoe_size"]}, "school.data_profile[0]"),
        ({"data_profile": ["student.*", "pupil.*"]}, "school.data_profile[1]"),
        ({"data_profile": ["student." + "x" * 80]}, "school.data_profile[0]"),
        ({"data_profile": ["student.*"] * 1001}, "school.data_profile"),
        (
            {"code_mappings": [s.CodeMapping(field="student.sex_code", code="x")] * 2001},
            "school.code_mappings",
        ),
        (
            {"code_mappings": [s.CodeMapping(field="x" * 81, code="x", meaning="SEX_MALE")]},
            "school.code_mappings[0].field",
        ),
        (
            {"code_mappings": [s.CodeMapping(field="student.sex_code", code="x" * 33, meaning="SEX_MALE")]},
            "school.code_mappings[0].code",
        ),
        (
            {"code_mappings": [s.CodeMapping(field="student.sex_code", code="x", meaning="x" * 81)]},
            "school.code_mappings[0].meaning",
        ),
        ({"code_mappings": [s.CodeMapping(field="student.surname", code="x")]}, "school.code_mappings[0]"),
        (
            {"code_mappings": [s.CodeMapping(field="student.sex_code", code="x", meaning="SEX_OTHER")]},
            "school.code_mappings[0]",
        ),
        (
            {"code_mappings": [s.CodeMapping(field="student.sex_code", code=" ", meaning="SEX_MALE")]},
            "school.code_mappings[0].code",
        ),
        (
            {"code_mappings": [s.CodeMapping(field="student.sex_code", code="x", meaning="SEX_MALE")] * 2},
            "school.code_mappings[1]",
        ),
        ({"time_zone": "Europe/Camelot"}, "school.time_zone"),
        ({"time_zone": "../../etc/passwd"}, "school.time_zone"),
        (
            {"academic_year": s.AcademicYearSpan(name="x", valid_from="2026-09-01", valid_to="2026-09-01")},
            "school.academic_year.valid_to",
        ),
        (
            {"academic_year": s.AcademicYearSpan(name="x", valid_from="1 Sep", valid_to="2027-09-01")},
            "school.academic_year.valid_from",
        ),
        (
            {"hold_thresholds": [s.HoldThreshold(deletions_fraction=2)]},
            "school.hold_thresholds[0].deletions_fraction",
        ),
    ],
)
async def test_a_malformed_registration_is_refused(
    client: Client, changes: dict[str, Any], field: str
) -> None:
    failure = await refused(client.schools.CreateSchool(creation(**changes)))
    assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", [field])


@pytest.mark.parametrize("request_id", ["", "1", "not-a-uuid", f"{{{UUID}}}", UUID.replace("-", "")])
async def test_a_request_id_is_a_uuid(client: Client, request_id: str) -> None:
    request = creation()
    request.request_id = request_id
    failure = await refused(client.schools.CreateSchool(request))
    assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", ["request_id"])


async def test_all_that_is_wrong_is_told_at_once(client: Client) -> None:
    request = s.CreateSchoolRequest(
        school=s.School(school_id="Oak!", connector="scripted", time_zone="x"), credentials={"secrt": SECRET}
    )
    failure = await refused(client.schools.CreateSchool(request))
    assert set(failure.violations) == {
        "request_id",
        "school.school_id",
        "school.time_zone",
        "school.settings['host']",
        "credentials",
        "credentials['secret']",
    }
    assert SECRET not in str(failure)


async def test_g16_names_that_may_be_secrets_are_counted_and_not_repeated(client: Client) -> None:
    await client.schools.CreateSchool(creation())
    upside_down = {SECRET: "secret", f"{SECRET}!": "x", "secret": "s"}
    request = creation(school_id="elm", settings={SECRET: "mis.example"})
    request.credentials.update(upside_down)
    failures = [
        await refused(client.schools.CreateSchool(request)),
        await refused(client.schools.SetCredentials(setting(upside_down))),
        await refused(client.schools.UpdateSchool(update({"host": "h", SECRET: "x"}))),
    ]
    assert [list(failure.violations) for failure in failures] == [
        ["school.settings", "credentials"],
        ["credentials"],
        ["school.settings"],
    ]
    assert failures[1].violations["credentials"] == (
        "must have only names that the connector knows (secret); 2 given are not"
    )
    assert "(host, port, timeout); 1 given" in failures[2].violations["school.settings"]
    assert SECRET not in str(failures)


async def test_an_unknown_connector_has_a_reason_of_its_own(client: Client) -> None:
    failure = await refused(client.schools.CreateSchool(creation(connector="acme")))
    assert (failure.reason, failure.metadata) == ("CONNECTOR_UNKNOWN", {"connector": "acme"})


async def test_update_changes_what_the_mask_names(client: Client) -> None:
    school = (await client.schools.CreateSchool(creation(display_name="Oak"))).school
    request = s.UpdateSchoolRequest(
        school=s.School(school_id="oak", display_name="Oak Tree", time_zone="x", etag=school.etag),
        update_mask=FieldMask(paths=["display_name"]),
        request_id=new_request_id(),
    )
    updated = (await client.schools.UpdateSchool(request)).school
    assert (updated.display_name, updated.time_zone) == ("Oak Tree", "Europe/London")
    assert updated.etag != school.etag
    assert (await client.schools.UpdateSchool(request)).school == updated, "a repetition"
    request.request_id = new_request_id()
    assert (await refused(client.schools.UpdateSchool(request))).reason == "ETAG_MISMATCH"


async def test_thresholds_are_given_and_changed(client: Client) -> None:
    given = s.HoldThreshold(kind=KIND_STUDENT, deletions_fraction=0.0, updates_count=5)
    school = (await client.schools.CreateSchool(creation(hold_thresholds=[given]))).school
    assert list(school.hold_thresholds) == [given]
    request = s.UpdateSchoolRequest(
        school=s.School(school_id="oak", hold_thresholds=[given, given]),
        update_mask=FieldMask(paths=["hold_thresholds"]),
        request_id=new_request_id(),
    )
    failure = await refused(client.schools.UpdateSchool(request))
    assert (failure.reason, list(failure.violations)) == (
        "REQUEST_INVALID",
        ["school.hold_thresholds[1].kind"],
    )
    request.school.hold_thresholds[1].kind = KIND_UNSPECIFIED
    assert (
        await client.schools.UpdateSchool(request)
    ).school.hold_thresholds == request.school.hold_thresholds


@pytest.mark.parametrize(
    ("paths", "field"),
    [
        ([], "update_mask"),
        (["connector"], "update_mask"),
        (["school_id", "display_name"], "update_mask"),
        (["time_zone"], "school.time_zone"),
        (["data_profile"], "school.data_profile"),
        (["settings"], "school.settings['host']"),
    ],
)
async def test_a_malformed_update_is_refused(client: Client, paths: list[str], field: str) -> None:
    await client.schools.CreateSchool(creation())
    request = s.UpdateSchoolRequest(
        school=s.School(school_id="oak"), update_mask=FieldMask(paths=paths), request_id=new_request_id()
    )
    failure = await refused(client.schools.UpdateSchool(request))
    assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", [field])


async def test_credentials_go_in_and_never_come_out(client: Client, store: Store) -> None:
    await client.schools.CreateSchool(creation())
    request = s.SetCredentialsRequest(
        school_id="oak", credentials={"secret": SECRET}, request_id=new_request_id()
    )
    answer = await client.schools.SetCredentials(request)
    assert answer.school.has_credentials
    assert await store.credentials.get("oak") == {"secret": SECRET}
    listed = await client.schools.ListSchools(s.ListSchoolsRequest())
    got = await client.schools.GetSchool(s.GetSchoolRequest(school_id="oak"))
    assert SECRET not in f"{answer}{listed}{got}"


async def test_credentials_are_dropped_with_the_address_that_they_were_set_for(
    client: Client, store: Store, mis: ScriptedMis
) -> None:
    await client.schools.CreateSchool(creation())
    await client.schools.SetCredentials(setting({"secret": SECRET}))
    move = update({"host": "elsewhere.example"})
    moved = (await client.schools.UpdateSchool(move)).school
    assert not moved.has_credentials
    assert not moved.HasField("credentials_set_at")
    opened = mis.opened
    start = sync.StartSyncRequest(school_id="oak", request_id=new_request_id())
    check = s.CheckConnectionRequest(school_id="oak")
    for call in (client.sync.StartSync(start), client.schools.CheckConnection(check)):
        assert (await refused(call)).reason == "CREDENTIALS_MISSING"
    assert mis.opened == opened, "nothing was sent anywhere"

    await client.schools.SetCredentials(setting({"secret": "new"}))
    assert (await client.schools.UpdateSchool(move)).school.has_credentials, "a repetition"
    assert await store.credentials.get("oak") == {"secret": "new"}


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "mis.example"},
        {"host": "mis.example", "port": "443"},
        {"host": "mis.example", "timeout": "9"},
    ],
)
async def test_settings_that_point_where_they_did_keep_the_credentials(
    client: Client, store: Store, settings: dict[str, str]
) -> None:
    await client.schools.CreateSchool(creation())
    await client.schools.SetCredentials(setting({"secret": SECRET}))
    assert (await client.schools.UpdateSchool(update(settings))).school.has_credentials
    assert await store.credentials.get("oak") == {"secret": SECRET}


async def test_a_refused_move_keeps_the_credentials(client: Client, store: Store) -> None:
    await client.schools.CreateSchool(creation())
    await client.schools.SetCredentials(setting({"secret": SECRET}))
    for wrong, reason in (
        (update({"host": "elsewhere.example"}, etag="r0"), "ETAG_MISMATCH"),
        (update({"host": "elsewhere.example", "colour": "red"}), "REQUEST_INVALID"),
        (update({"host": ""}), "REQUEST_INVALID"),
    ):
        assert (await refused(client.schools.UpdateSchool(wrong))).reason == reason
    assert await store.credentials.get("oak") == {"secret": SECRET}


async def test_credentials_must_be_complete(client: Client) -> None:
    await client.schools.CreateSchool(creation())
    request = s.SetCredentialsRequest(school_id="oak", request_id=new_request_id())
    failure = await refused(client.schools.SetCredentials(request))
    assert list(failure.violations) == ["credentials['secret']"]


async def test_schools_are_listed_in_pages(client: Client) -> None:
    for number in range(5):
        await client.schools.CreateSchool(creation(school_id=f"school-{number}"))
    request, seen = s.ListSchoolsRequest(page_size=2), list[str]()
    while True:
        response = await client.schools.ListSchools(request)
        seen += [school.school_id for school in response.schools]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert seen == [f"school-{number}" for number in range(5)]
    failure = await refused(client.schools.ListSchools(s.ListSchoolsRequest(page_size=1001)))
    assert (failure.reason, failure.metadata) == ("PAGE_SIZE_INVALID", {"maximum": "1000"})


async def test_a_connection_is_checked_for_known_schools_only(client: Client) -> None:
    request = s.CheckConnectionRequest(school_id="oak")
    assert (await refused(client.schools.CheckConnection(request))).reason == "SCHOOL_NOT_FOUND"
    await client.schools.CreateSchool(creation())
    assert (await refused(client.schools.CheckConnection(request))).reason == "CREDENTIALS_MISSING"
    credentials = s.SetCredentialsRequest(
        school_id="oak", credentials={"secret": SECRET}, request_id=new_request_id()
    )
    await client.schools.SetCredentials(credentials)
    assert (await client.schools.CheckConnection(request)).ok


async def test_connectors_are_listed_with_what_they_need(client: Client) -> None:
    [connector] = (await client.diagnostics.ListConnectors(d.ListConnectorsRequest())).connectors
    assert connector.loaded
    assert [(field.name, field.required, field.endpoint) for field in connector.settings] == [
        ("host", True, True),
        ("port", False, True),
        ("timeout", False, False),
    ]
