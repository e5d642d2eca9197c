"""WatchChanges as followers meet it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from schoolgate.v1 import identity_service_pb2 as i
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record
from schoolgate_server.rpc import watch
from schoolgate_server.rpc.callers import CallersFile, hash_token
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.scripted import STUDENTS, ScriptedMis, scripted_connector, student
from tests.support.served import (
    Client,
    Failure,
    Served,
    bearer,
    failure_of,
    new_request_id,
    refused,
    served,
)

pytestmark = pytest.mark.timeout(60)

SNAPSHOT = q.WATCH_START_SNAPSHOT
KINDS_READ = (
    kinds.KIND_STUDENT,
    kinds.KIND_GROUP,
    kinds.KIND_GROUP_MEMBERSHIP,
    kinds.KIND_ATTENDANCE_MARK,
)


def asking(**asked: Any) -> q.WatchChangesRequest:
    asked.setdefault("school_id", SCHOOL)
    return q.WatchChangesRequest(**asked)


@asynccontextmanager
async def watching(client: Client, metadata: Any = (), **asked: Any) -> AsyncGenerator[Any]:
    call = client.query.WatchChanges(asking(**asked), metadata=metadata)
    try:
        yield call
    finally:
        call.cancel()


async def up_to_date(call: Any) -> list[q.WatchChangesResponse]:
    """Return the responses until the follower is up to date."""
    found = [await call.read()]
    while not found[-1].up_to_date:
        found.append(await call.read())
    return found


async def changes(client: Client, **asked: Any) -> tuple[list[q.Change], str]:
    """Return all that there is to tell now, and the cursor after it."""
    async with watching(client, **asked) as call:
        found = await up_to_date(call)
    return [change for response in found for change in response.changes], found[-1].cursor


async def sent_away(call: Any) -> Failure:
    """Return why a stream that was being followed ended; fails where it goes on, or just comes to an end."""
    try:
        async with asyncio.timeout(10):
            while await call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError("the stream came to an end")


async def live_records(client: Client) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for kind in KINDS_READ:
        request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kind)
        async for page in client.query.QueryRecords(request):
            found.update((record.id, record) for record in page.records)
    return found


async def test_a_snapshot_is_every_live_record_and_then_what_changes(
    synced: Client, mis: ScriptedMis
) -> None:
    async with watching(synced, start=SNAPSHOT, page_size=10) as call:
        first = await up_to_date(call)
        table = {c.record.id: c.record for response in first for c in response.changes}
        assert table == await live_records(synced)
        assert all(list(c.types) == [q.CHANGE_TYPE_CREATED] for r in first for c in r.changes)
        assert max(len(response.changes) for response in first) == 10
        seqs = [c.record.seq for response in first for c in response.changes]
        assert seqs == sorted(seqs)
        mis.rows[STUDENTS][3]["surname"] = "Changed"
        run = asyncio.ensure_future(synced.sync_to_the_end(SCHOOL))
        [change] = (await call.read()).changes
        await run
    assert (list(change.types), list(change.changed_fields)) == ([q.CHANGE_TYPE_UPDATED], ["surname"])
    assert change.record.student.surname == "Changed"


async def test_what_happened_is_told_as_what_it_is(synced: Client, mis: ScriptedMis) -> None:
    _, cursor = await changes(synced)
    gone = mis.rows[STUDENTS].pop(7)
    await synced.sync_to_the_end(SCHOOL)
    told, cursor = await changes(synced, cursor=cursor, kinds=[])
    [left] = [c for c in told if c.record.kind == kinds.KIND_STUDENT]
    assert (list(left.types), left.record.student.surname) == ([q.CHANGE_TYPE_LEFT], "Surname007")
    assert left.record.tombstone.reason
    assert [key.parts[0].integer for key in left.record.source_keys] == [7, 1007]
    mis.rows[STUDENTS].append({**gone, "surname": "Again"})
    await synced.sync_to_the_end(SCHOOL)
    told, cursor = await changes(synced, cursor=cursor)
    [back] = [c for c in told if c.record.kind == kinds.KIND_STUDENT]
    assert list(back.types) == [q.CHANGE_TYPE_UPDATED, q.CHANGE_TYPE_RETURNED]


async def test_a_merge_and_the_keys_that_go_over_are_told(synced: Client) -> None:
    told, cursor = await changes(synced, start=SNAPSHOT, kinds=[kinds.KIND_STUDENT])
    loser, survivor = (c.record for c in told[:2])
    request = i.MergeRecordsRequest(
        school_id=SCHOOL,
        survivor_id=survivor.id,
        merged_id=loser.id,
        request_id=new_request_id(),
        comment="one and the same",
    )
    run = (await synced.identity.MergeRecords(request)).run
    await _ended(synced, run.run_id)
    told, _ = await changes(synced, cursor=cursor, kinds=[kinds.KIND_STUDENT])
    by_id = {c.record.id: c for c in told}
    merged, kept = by_id[loser.id], by_id[survivor.id]
    assert list(merged.types) == [q.CHANGE_TYPE_MERGED]
    assert (merged.record.tombstone.reason, merged.record.tombstone.merged_into) == (
        TOMBSTONE_REASON_MERGED,
        survivor.id,
    )
    assert list(kept.types) == [q.CHANGE_TYPE_KEYS_CHANGED]
    assert sorted(map(str, kept.added_keys)) == sorted(map(str, loser.source_keys))
    assert not kept.removed_keys


async def _ended(client: Client, run_id: str) -> None:
    from schoolgate.v1.sync_service_pb2 import WatchRunRequest

    async for _ in client.sync.WatchRun(WatchRunRequest(school_id=SCHOOL, run_id=run_id)):
        pass


async def test_from_now_on_there_is_a_cursor_at_once(synced: Client, mis: ScriptedMis) -> None:
    async with watching(synced) as call:
        first = await call.read()
    assert (len(first.changes), first.up_to_date) == (0, True)
    mis.rows[STUDENTS].append(student(99, "New", sex_code="F", person=1099))
    await synced.sync_to_the_end(SCHOOL)
    told, _ = await changes(synced, cursor=first.cursor)
    assert [c.record.student.surname for c in told] == ["New"]


async def test_heartbeats_tell_a_later_cursor_though_nothing_of_the_kind_changed(
    synced: Client, mis: ScriptedMis
) -> None:
    async with watching(synced, kinds=[kinds.KIND_GROUP], heartbeat_seconds=1) as call:
        first = await call.read()
        mis.rows[STUDENTS][3]["surname"] = "Changed"
        await synced.sync_to_the_end(SCHOOL)
        beat = await call.read()
        while beat.seq == first.seq:
            beat = await call.read()
    assert (len(beat.changes), beat.up_to_date) == (0, True)
    assert beat.cursor != first.cursor
    told, _ = await changes(synced, kinds=[kinds.KIND_GROUP], cursor=beat.cursor)
    assert told == []


async def test_whoever_read_with_a_query_follows_from_its_seq(synced: Client, mis: ScriptedMis) -> None:
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT)
    [seq] = {page.seq async for page in synced.query.QueryRecords(request)}
    mis.rows[STUDENTS][3]["surname"] = "Changed"
    await synced.sync_to_the_end(SCHOOL)
    told, _ = await changes(synced, after_seq=seq)
    assert [c.record.student.surname for c in told] == ["Changed"]


@pytest.mark.parametrize("at", range(0, 60, 7))
async def test_g13_a_follower_goes_on_from_any_response(synced: Client, at: int) -> None:
    """Also in the middle of one commit's records."""
    async with watching(synced, start=SNAPSHOT, page_size=1) as call:
        everything = await up_to_date(call)
    table = {c.record.id: c.record for response in everything[: at + 1] for c in response.changes}
    rest, _ = await changes(synced, cursor=everything[min(at, len(everything) - 1)].cursor, page_size=3)
    assert not table.keys() & {c.record.id for c in rest}
    table.update((c.record.id, c.record) for c in rest)
    assert table == await live_records(synced)


async def test_a_cursor_is_of_one_registration_and_of_its_kinds(
    synced: Client, store: Store, mis: ScriptedMis
) -> None:
    await synced.create_school("elm", "scripted")
    _, cursor = await changes(synced, kinds=[kinds.KIND_STUDENT])
    foreign = [
        asking(school_id="elm", cursor=cursor, kinds=[kinds.KIND_STUDENT]),
        asking(cursor=cursor),
        asking(cursor=cursor, kinds=[kinds.KIND_STUDENT, kinds.KIND_GROUP]),
    ]
    for request in foreign:
        failure = await refused(synced.query.WatchChanges(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_FOREIGN")
        same = "true" if request.school_id == SCHOOL else "false"
        assert failure.metadata == {"school_id": request.school_id, "same_school": same}
    for damaged in (cursor[:-2] + "AA", "🦉" * 400, "AAAA", "x" * 5000, ""):
        failure = await refused(synced.query.WatchChanges(asking(cursor=damaged)))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID")
        assert list(failure.violations) == ["cursor"]


async def test_a_cursor_too_old_or_from_the_future_says_so(synced: Client, store: Store) -> None:
    _, cursor = await changes(synced)
    heads = store.database.collection("heads")
    head = await heads.find_one({"_id": SCHOOL})
    assert head is not None
    await heads.update_one({"_id": SCHOOL}, {"$set": {"oldest": head["published"] + 1}})
    failure = await refused(synced.query.WatchChanges(asking(cursor=cursor)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TOO_OLD")
    assert failure.metadata == {"school_id": SCHOOL, "oldest_seq": str(head["published"] + 1)}
    await heads.update_one({"_id": SCHOOL}, {"$set": {"oldest": 0, "published": head["published"] - 1}})
    failure = await refused(synced.query.WatchChanges(asking(cursor=cursor)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_FROM_FUTURE")
    assert failure.metadata["published_seq"] == str(head["published"] - 1)
    failure = await refused(synced.query.WatchChanges(asking(after_seq=head["published"])))
    assert failure.reason == "CURSOR_FROM_FUTURE"


async def test_all_that_is_wrong_is_told_at_once(synced: Client) -> None:
    wrong: Any = {"kinds": [kinds.KIND_GROUP, kinds.KIND_GROUP, 999], "page_size": 5001}
    failure = await refused(synced.query.WatchChanges(asking(after_seq=-1, heartbeat_seconds=301, **wrong)))
    assert set(failure.violations) == {"kinds", "kinds[2]", "page_size", "after_seq", "heartbeat_seconds"}
    failure = await refused(synced.query.WatchChanges(asking(start=77)))
    assert set(failure.violations) == {"start"}
    failure = await refused(synced.query.WatchChanges(asking(school_id="never")))
    assert failure.reason == "SCHOOL_NOT_FOUND"


async def test_a_stopping_server_sends_its_followers_away_to_come_again(
    synced: Client, running: Served
) -> None:
    async with watching(synced) as call:
        await call.read()
        await running.server.close_to_new_calls()
        failure = await sent_away(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert failure.retry_after == 2.0


async def test_a_follower_whose_token_is_revoked_is_sent_away(
    store: Store, mis: ScriptedMis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail without the second look at the token."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.1)
    path = tmp_path / "callers.toml"

    def write(schools: str) -> None:
        """Let the caller "a" follow ``schools``; where there are none, there is no such caller."""
        entries = [("b", "ADMIN", "*")] + ([("a", "READER", schools)] if schools else [])
        path.write_text(
            "\n".join(
                f'[[callers]]\nname = "{name}"\ntoken_sha256 = "{hash_token(name)}"\n'
                f'roles = ["{role}"]\nschools = ["{of}"]'
                for name, role, of in entries
            )
        )

    write(SCHOOL)
    callers = CallersFile(path, every_s=0.02)
    following = asyncio.create_task(callers.follow())
    connector = scripted_connector(mis)
    async with served(store, connector, callers=callers, clock=TickingClock()) as running:
        channel = running.client.channel
        admin = Client(channel)
        from schoolgate.v1 import school_service_pb2 as s

        request = s.CreateSchoolRequest(
            school=s.School(school_id=SCHOOL, connector="scripted"), request_id=new_request_id()
        )
        await admin.schools.CreateSchool(request, metadata=bearer("b"))
        for schools, reason in (("elm", "SCHOOL_FORBIDDEN"), ("", "TOKEN_INVALID")):
            write(SCHOOL)
            await asyncio.sleep(0.2)
            async with watching(admin, metadata=bearer("a")) as call:
                await call.read()
                write(schools)
                assert (await sent_away(call)).reason == reason
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_slow_follower_is_read_for_no_faster_than_it_takes(
    synced: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages wait in MongoDB, not in the server: what gRPC buffers is all that is read ahead.

    Seen to fail with every page read before the first one is sent.
    """
    read = 0
    original = store.feed.page

    async def page(*args: Any) -> Any:
        nonlocal read
        read += 1
        found = await original(*args)
        for change in found.changes:
            change.record.run_id = "x" * 500_000
        return found

    monkeypatch.setattr(store.feed, "page", page)
    async with watching(synced, start=SNAPSHOT, page_size=1) as call:
        await call.read()
        await asyncio.sleep(1)
        ahead = read
        rest = await up_to_date(call)
    assert ahead < 20 < len(rest)


async def test_many_followers_share_one_listener(synced: Client, store: Store, mis: ScriptedMis) -> None:
    calls = [synced.query.WatchChanges(asking()) for _ in range(20)]
    await asyncio.gather(*(call.read() for call in calls))
    listening = [task for task in asyncio.all_tasks() if task.get_name() == "listen to published seqs"]
    assert len(listening) == 1
    mis.rows[STUDENTS][3]["surname"] = "Changed"
    await synced.sync_to_the_end(SCHOOL)
    for call in calls:
        response: Any = await call.read()
        assert [c.record.student.surname for c in response.changes] == ["Changed"]
        call.cancel()
    async with asyncio.timeout(5):
        while not listening[0].done():
            await asyncio.sleep(0.05)
