"""ListHolds and ResolveHold: an operator lets through, or forgets, exactly one change set."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as s
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate_server.rpc.callers import CallersFile, hash_token
from schoolgate_server.rpc.roles import Role
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.scripted import MARKS, MEMBERSHIPS, STUDENTS, ScriptedMis, scripted_connector, student
from tests.support.served import Client, Served, bearer, new_request_id, refused, served

APPROVE = s.ResolveHoldRequest.RESOLUTION_APPROVE
DISCARD = s.ResolveHoldRequest.RESOLUTION_DISCARD
COMMENT = "the school left the trust"


async def listed(client: Client) -> list[s.Hold]:
    return list((await client.sync.ListHolds(s.ListHoldsRequest(school_id=SCHOOL))).holds)


def resolve(hold: s.Hold, **changes: Any) -> s.ResolveHoldRequest:
    asked: dict[str, Any] = {
        "school_id": hold.school_id,
        "hold_id": hold.hold_id,
        "digest": hold.digest,
        "resolution": APPROVE,
        "comment": COMMENT,
        "request_id": new_request_id(),
    }
    return s.ResolveHoldRequest(**(asked | changes))


async def surnames(client: Client) -> set[str]:
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=KIND_STUDENT)
    return {
        record.student.surname async for page in client.query.QueryRecords(request) for record in page.records
    }


async def entries(store: Store) -> list[dict[str, Any]]:
    return list(await store.database.collection("audit").find({}))


@pytest.fixture
async def held(synced: Client, mis: ScriptedMis) -> s.Hold:
    """The hold over new surnames of all 25 students."""
    mis.rows[STUDENTS] = [student(number, surname="Changed", person=1000 + number) for number in range(25)]
    run = await synced.sync_to_the_end(SCHOOL)
    assert run.state == s.RUN_STATE_PARTIAL
    [hold] = await listed(synced)
    assert hold.run_id == run.run_id
    return hold


async def test_holds_are_listed_newest_first_in_pages(synced: Client, mis: ScriptedMis) -> None:
    for dataset in (STUDENTS, MEMBERSHIPS, MARKS):
        del mis.rows[dataset][1:]
    await synced.sync_to_the_end(SCHOOL)
    request, seen = s.ListHoldsRequest(school_id=SCHOOL, page_size=2), list[s.Hold]()
    while True:
        response = await synced.sync.ListHolds(request)
        assert len(response.holds) <= 2
        seen += response.holds
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert [hold.dataset for hold in seen] == [MARKS, MEMBERSHIPS, STUDENTS]
    assert [hold.tombstones for hold in seen] == [24, 24, 24]
    assert seen == await listed(synced)
    request.page_size, request.page_token = 1, "none of ours"
    assert (await refused(synced.sync.ListHolds(request))).reason == "PAGE_TOKEN_INVALID"
    request.page_size = 1001
    assert (await refused(synced.sync.ListHolds(request))).reason == "PAGE_SIZE_INVALID"


async def test_g02_what_is_held_shows_why_and_changes_nothing(client: Client, held: s.Hold) -> None:
    assert (held.school_id, held.dataset, held.updates, held.tombstones) == (SCHOOL, STUDENTS, 25, 0)
    assert held.live_records == 25
    assert held.explanation == "all 25 student records changed at once"
    assert not held.HasField("approved_at")
    assert "Changed" not in await surnames(client)


async def test_g02_an_approved_change_set_is_applied_by_the_next_run(client: Client, held: s.Hold) -> None:
    approved = (await client.sync.ResolveHold(resolve(held))).hold
    assert (approved.approved_by, approved.HasField("approved_at")) == ("local", True)
    assert await listed(client) == [approved]
    assert "Changed" not in await surnames(client)
    run = await client.sync_to_the_end(SCHOOL)
    assert run.state == s.RUN_STATE_SUCCEEDED
    assert await surnames(client) == {"Changed"}
    assert await listed(client) == []


async def test_a_discarded_hold_is_forgotten_and_decided_anew(client: Client, held: s.Hold) -> None:
    discarded = (await client.sync.ResolveHold(resolve(held, resolution=DISCARD))).hold
    assert discarded == held
    assert await listed(client) == []
    run = await client.sync_to_the_end(SCHOOL)
    assert run.state == s.RUN_STATE_PARTIAL
    [again] = await listed(client)
    assert (again.digest, again.run_id) == (held.digest, run.run_id)
    assert "Changed" not in await surnames(client)


async def test_only_the_hold_and_the_digest_that_are_open_are_resolved(
    client: Client, held: s.Hold, store: Store
) -> None:
    names = {"school_id": SCHOOL, "hold_id": held.hold_id}
    for resolution in (APPROVE, DISCARD):
        failure = await refused(
            client.sync.ResolveHold(resolve(held, digest="0" * 64, resolution=resolution))
        )
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "HOLD_DIGEST_MISMATCH")
        assert failure.metadata == names
        failure = await refused(
            client.sync.ResolveHold(resolve(held, hold_id="hld_none", resolution=resolution))
        )
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "HOLD_NOT_FOUND")
        assert failure.metadata == names | {"hold_id": "hld_none"}
    assert await listed(client) == [held]
    assert await entries(store) == []


async def test_a_malformed_request_is_refused_field_by_field(client: Client, held: s.Hold) -> None:
    failure = await refused(client.sync.ResolveHold(s.ResolveHoldRequest(comment="x" * 2001)))
    assert failure.reason == "REQUEST_INVALID"
    assert set(failure.violations) == {
        "school_id",
        "hold_id",
        "digest",
        "resolution",
        "comment",
        "request_id",
    }
    unknown = s.ResolveHoldRequest.Resolution.ValueType(7)
    failure = await refused(client.sync.ResolveHold(resolve(held, resolution=unknown)))
    assert set(failure.violations) == {"resolution"}
    failure = await refused(client.sync.ResolveHold(resolve(held, hold_id="x" * 81, digest="x" * 81)))
    assert set(failure.violations) == {"hold_id", "digest"}


@pytest.mark.parametrize("resolution", [APPROVE, DISCARD])
async def test_a_repeated_request_gets_the_first_ones_answer(
    client: Client, held: s.Hold, store: Store, resolution: s.ResolveHoldRequest.Resolution.ValueType
) -> None:
    request = resolve(held, resolution=resolution)
    first = await client.sync.ResolveHold(request)
    assert await client.sync.ResolveHold(request) == first
    await client.sync_to_the_end(SCHOOL)  # which closes an approved hold, and opens a discarded one again
    still = await listed(client)
    assert await client.sync.ResolveHold(request) == first
    assert await listed(client) == still
    assert len(await entries(store)) == 1


async def test_a_request_id_is_good_for_one_request(client: Client, held: s.Hold, store: Store) -> None:
    request = resolve(held)
    await client.sync.ResolveHold(request)
    for change in ({"resolution": DISCARD}, {"comment": "another"}, {"digest": "0" * 64}):
        failure = await refused(
            client.sync.ResolveHold(resolve(held, request_id=request.request_id, **change))
        )
        assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    [hold] = await listed(client)
    assert hold.HasField("approved_at")
    assert len(await entries(store)) == 1


async def test_g16_the_audit_has_who_when_what_and_why_and_nothing_else(
    client: Client, held: s.Hold, store: Store
) -> None:
    request = resolve(held)
    answer = await client.sync.ResolveHold(request)
    [entry] = await entries(store)
    assert isinstance(entry.pop("at"), datetime)
    assert len(entry.pop("digest")) == 32
    assert s.ResolveHoldResponse.FromString(bytes(entry.pop("result"))) == answer
    assert entry == {
        "_id": f"{SCHOOL}:{request.request_id}",
        "school": SCHOOL,
        "action": "RESOLUTION_APPROVE",
        "subject": held.hold_id,
        "by": "local",
        "comment": COMMENT,
    }
    assert not any(name in str(answer) for name in ("Changed", "Surname"))


# --- callers -----------------------------------------------------------------------------------------------

TOKENS = {"reader": Role.READER, "operator": Role.OPERATOR, "elsewhere": Role.OPERATOR, "boss": Role.ADMIN}


@pytest.fixture
async def guarded(store: Store, mis: ScriptedMis, tmp_path: Path) -> AsyncGenerator[Served]:
    path = tmp_path / "callers.toml"
    path.write_text(
        "".join(
            f'[[callers]]\nname = "{name}"\ntoken_sha256 = "{hash_token(name)}"\nroles = ["{role.value}"]\n'
            f'schools = ["{"elm" if name == "elsewhere" else SCHOOL}"]\n'
            for name, role in TOKENS.items()
        )
    )
    connector = scripted_connector(mis)
    async with served(store, connector, callers=CallersFile(path), clock=TickingClock()) as running:
        school = schools.School(school_id=SCHOOL, connector="scripted")
        request = schools.CreateSchoolRequest(school=school, request_id=new_request_id())
        await running.client.schools.CreateSchool(request, metadata=bearer("boss"))
        await running.client.sync_to_the_end(SCHOOL, metadata=bearer("operator"))
        del mis.rows[STUDENTS][1:]
        await running.client.sync_to_the_end(SCHOOL, metadata=bearer("operator"))
        yield running


async def test_g17_holds_are_an_operators_of_the_school(guarded: Served, store: Store) -> None:
    sync = guarded.client.sync
    [hold] = await store.holds.list(SCHOOL)
    for caller, reason in (("reader", "ROLE_MISSING"), ("elsewhere", "SCHOOL_FORBIDDEN")):
        for call in (
            sync.ListHolds(s.ListHoldsRequest(school_id=SCHOOL), metadata=bearer(caller)),
            sync.ResolveHold(resolve(hold), metadata=bearer(caller)),
        ):
            assert (await refused(call)).reason == reason
    assert await store.holds.list(SCHOOL) == [hold]
    shown = await sync.ListHolds(s.ListHoldsRequest(school_id=SCHOOL), metadata=bearer("operator"))
    assert list(shown.holds) == [hold]
    await sync.ResolveHold(resolve(hold), metadata=bearer("boss"))
    [approved] = await store.holds.list(SCHOOL)
    assert approved.approved_by == "boss"
    [entry] = await entries(store)
    assert entry["by"] == "boss"
