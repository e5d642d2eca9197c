"""Layers, notifications and schedules as callers meet them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as s
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK, KIND_BEHAVIOUR_EVENT, KIND_STUDENT
from schoolgate.v1.record_pb2 import KeyPart, SourceKey
from tests.integration.rpc.conftest import SCHOOL
from tests.support.scripted import MARKS, STUDENTS, ScriptedMis
from tests.support.served import Client, new_request_id, refused


def start(**changes: Any) -> s.StartSyncRequest:
    given: dict[str, Any] = {"school_id": SCHOOL, "request_id": new_request_id(), **changes}
    return s.StartSyncRequest(**given)


def window(begins: str = "2026-10-01", ends: str = "2026-10-08", **changes: Any) -> s.StartSyncRequest:
    return start(layer=s.SYNC_LAYER_WINDOW, date_from=begins, date_to=ends, **changes)


def key(*parts: int | str, namespace: str = "scripted/students") -> SourceKey:
    return SourceKey(
        namespace=namespace,
        parts=[KeyPart(integer=part) if isinstance(part, int) else KeyPart(text=part) for part in parts],
    )


def notice(*keys: SourceKey, **changes: Any) -> s.NotifyChangeRequest:
    given: dict[str, Any] = {
        "school_id": SCHOOL,
        "kind": KIND_STUDENT,
        "request_id": new_request_id(),
        **changes,
    }
    return s.NotifyChangeRequest(source_keys=keys, **given)


async def finish(client: Client, run: s.Run) -> s.Run:
    request = s.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id)
    return [response.run async for response in client.sync.WatchRun(request)][-1]


async def test_a_window_is_read_and_shown(synced: Client) -> None:
    run = await finish(synced, (await synced.sync.StartSync(window())).run)
    assert (run.state, run.layer) == (s.RUN_STATE_SUCCEEDED, s.SYNC_LAYER_WINDOW)
    assert (run.date_from, run.date_to) == ("2026-10-01", "2026-10-08")
    assert [part.dataset for part in run.datasets] == [MARKS]
    listed = await synced.sync.ListRuns(s.ListRunsRequest(school_id=SCHOOL, page_size=1))
    assert list(listed.runs) == [run]


async def test_a_repeated_request_is_one_of_the_same_layer_and_days(synced: Client) -> None:
    request = window()
    first = await synced.sync.StartSync(request)
    assert (await synced.sync.StartSync(request)).run.run_id == first.run.run_id
    for field, value in {"date_to": "2026-10-09", "date_from": "2026-10-02"}.items():
        other = s.StartSyncRequest()
        other.CopyFrom(request)
        setattr(other, field, value)
        assert (await refused(synced.sync.StartSync(other))).reason == "REQUEST_ID_REUSED"
    full = start(request_id=request.request_id, datasets=[MARKS])
    assert (await refused(synced.sync.StartSync(full))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (start(layer=s.SYNC_LAYER_TARGETED), ["layer"]),
        (start(layer=s.SYNC_LAYER_IDENTITY), ["layer"]),
        (start(layer=99), ["layer"]),
        (start(date_from="2026-10-01"), ["date_from"]),
        (start(layer=s.SYNC_LAYER_CHANGES, date_to="2026-10-01"), ["date_to"]),
        (start(layer=s.SYNC_LAYER_WINDOW), ["date_from", "date_to"]),
        (window("2026-10-01", "soon"), ["date_to"]),
        (window("2026-10-01", "2026-10-01"), ["date_to"]),
        (window("2026-10-02", "2026-10-01"), ["date_to"]),
        (window("2025-01-01", "2025-02-01"), ["date_from"]),
        (window(datasets=[MARKS, STUDENTS]), ["datasets[1]"]),
    ],
)
async def test_what_a_layer_does_not_take_is_named(
    synced: Client, request_: s.StartSyncRequest, fields: list[str]
) -> None:
    failure = await refused(synced.sync.StartSync(request_))
    assert failure.reason == "REQUEST_INVALID"
    assert list(failure.violations) == fields
    listed = await synced.sync.ListRuns(s.ListRunsRequest(school_id=SCHOOL))
    assert len(listed.runs) == 1


async def test_a_layer_that_is_not_given_is_a_full_snapshot(synced: Client) -> None:
    run = (await synced.sync.StartSync(start())).run
    assert (run.layer, len(run.datasets)) == (s.SYNC_LAYER_FULL, 4)


async def test_changes_of_a_mis_that_tells_none_are_read_in_full(synced: Client) -> None:
    run = await finish(synced, (await synced.sync.StartSync(start(layer=s.SYNC_LAYER_CHANGES))).run)
    assert (run.state, run.layer) == (s.RUN_STATE_SUCCEEDED, s.SYNC_LAYER_CHANGES)
    assert {part.layer for part in run.datasets} == {s.SYNC_LAYER_FULL}
    assert all("cannot be asked for changes" in part.fallback for part in run.datasets)


async def test_notifications_wait_together_and_are_never_refused(synced: Client, mis: ScriptedMis) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(dataset: str, index: int) -> None:
        begun.set()
        await go_on.wait()

    mis.on_page = wait
    full = (await synced.sync.StartSync(start())).run
    await begun.wait()
    mis.rows[STUDENTS][3]["surname"] = "Okafor"
    requests = [notice(key(3)), notice(key(4)), notice(key(3), key(4))]
    answers = [(await synced.sync.NotifyChange(request)).run for request in requests]
    assert len({run.run_id for run in answers}) == 1
    assert (answers[-1].layer, answers[-1].targets) == (s.SYNC_LAYER_TARGETED, 2)
    assert (answers[-1].state, answers[-1].requested_by) == (s.RUN_STATE_QUEUED, "local")
    go_on.set()
    assert (await finish(synced, full)).state == s.RUN_STATE_SUCCEEDED
    run = await finish(synced, answers[0])
    assert (run.state, run.datasets[0].rows_read) == (s.RUN_STATE_SUCCEEDED, 2)
    assert (await synced.sync.NotifyChange(requests[1])).run == run
    requests[1].source_keys.add().CopyFrom(key(5))
    assert (await refused(synced.sync.NotifyChange(requests[1]))).reason == "REQUEST_ID_REUSED"


async def test_waiting_notifications_can_be_cancelled(synced: Client, mis: ScriptedMis) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(dataset: str, index: int) -> None:
        begun.set()
        await go_on.wait()

    mis.on_page = wait
    full = (await synced.sync.StartSync(start())).run
    await begun.wait()
    waiting = (await synced.sync.NotifyChange(notice(key(3)))).run
    cancel = s.CancelRunRequest(school_id=SCHOOL, run_id=waiting.run_id, request_id=new_request_id())
    assert (await synced.sync.CancelRun(cancel)).run.cancel_requested
    following = (await synced.sync.NotifyChange(notice(key(4)))).run
    assert following.run_id != waiting.run_id
    go_on.set()
    ends = [(await finish(synced, run)).state for run in (full, waiting, following)]
    assert ends == [s.RUN_STATE_SUCCEEDED, s.RUN_STATE_CANCELLED, s.RUN_STATE_SUCCEEDED]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (notice(kind=0), ["kind"]),
        (notice(kind=KIND_BEHAVIOUR_EVENT), ["kind"]),
        (notice(request_id="again"), ["request_id"]),
        (notice(key(1), SourceKey(namespace="scripted/students")), ["source_keys[1]"]),
        (notice(SourceKey(namespace="scripted/students", parts=[KeyPart()])), ["source_keys[0].parts"]),
        (notice(key("")), ["source_keys[0]"]),
        (notice(key(1, namespace="x" * 10_000)), ["source_keys[0]"]),
        (notice(key(*range(17))), ["source_keys[0].parts"]),
        (notice(key(1), key(1, namespace="scripted/person")), ["source_keys[1].namespace"]),
        (notice(key(1), kind=KIND_ATTENDANCE_MARK), ["source_keys[0].namespace"]),
    ],
)
async def test_what_a_notification_cannot_name_is_named(
    synced: Client, request_: s.NotifyChangeRequest, fields: list[str]
) -> None:
    failure = await refused(synced.sync.NotifyChange(request_))
    assert failure.reason == "REQUEST_INVALID"
    assert list(failure.violations) == fields


async def test_schedules_are_registered_and_checked(client: Client) -> None:
    await client.create_school(SCHOOL, "scripted")
    request = schools.UpdateSchoolRequest(
        school=schools.School(
            school_id=SCHOOL,
            schedules=[schools.SyncSchedule(layer=s.SYNC_LAYER_FULL, every_minutes=1440)],
        ),
        update_mask=FieldMask(paths=["schedules"]),
        request_id=new_request_id(),
    )
    updated = (await client.schools.UpdateSchool(request)).school
    assert list(updated.schedules) == list(request.school.schedules)
    request.request_id = new_request_id()
    request.school.schedules[0].every_minutes = 0
    failure = await refused(client.schools.UpdateSchool(request))
    assert list(failure.violations) == ["school.schedules[0].every_minutes"]
