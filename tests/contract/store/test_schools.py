"""Registrations: idempotent creation, changes under etags, credentials' traces."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.school_service_pb2 import AcademicYearSpan, CodeMapping, School, SyncSchedule
from schoolgate.v1.sync_service_pb2 import SYNC_LAYER_FULL
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import Step
from tests.support.store_samples import SettableClock

HOSTILE = {"a.b": "1", "$set": "2", "nul\x00": "\x00", "": "3", "host": "https://mis.example"}


def school(school_id: str = "oak", **fields: object) -> School:
    return School(school_id=school_id, display_name="Oak", connector="mis", settings=HOSTILE, **fields)  # type: ignore[arg-type]  # any field


async def test_schools_with_schedules_are_found_with_what_their_runs_need(store: Store) -> None:
    for number, school_id in enumerate(("oak", "elm", "ash")):
        schedules = [SyncSchedule(layer=SYNC_LAYER_FULL, every_minutes=60)] if school_id != "elm" else []
        await store.schools.create(school(school_id, schedules=schedules), f"request-{number}", b"d")
    await store.schools.put_credentials("oak", b"sealed", datetime(2026, 9, 7, 8, 0, tzinfo=UTC), "r")
    found = await store.schools.scheduled()
    assert [(each.school_id, each.has_credentials) for each in found] == [("ash", False), ("oak", True)]
    assert found == [await store.schools.get("ash"), await store.schools.get("oak")]


async def test_a_school_comes_back_as_it_was_created(store: Store, clock: SettableClock) -> None:
    wanted = school(
        data_profile=["student.surname"],
        code_mappings=[CodeMapping(field="student.sex_code", code="W", meaning="SEX_FEMALE")],
        academic_year=AcademicYearSpan(name="2026/27", valid_from="2026-09-01", valid_to="2027-09-01"),
        time_zone="Europe/London",
        etag="ignored",
        has_credentials=True,
    )
    created = await store.schools.create(wanted, "request-1", b"d")
    assert created == await store.schools.get("oak")
    assert dict(created.settings) == HOSTILE
    assert created.academic_year == wanted.academic_year
    assert created.created_at.ToDatetime(tzinfo=clock.now.tzinfo) == clock.now
    assert created.etag not in {"", "ignored"}
    assert created.has_credentials is False


async def test_a_repeated_creation_gets_the_first_result(store: Store) -> None:
    created = await store.schools.create(school(), "request-1", b"d")
    await store.schools.update(
        School(school_id="oak", display_name="New"), ["display_name"], "request-2", b"d"
    )
    assert await store.schools.create(school(), "request-1", b"d") == created


@pytest.mark.parametrize(
    ("school_id", "request_id", "digest", "reason"),
    [
        ("oak", "request-2", b"d", reasons.ERROR_REASON_SCHOOL_ALREADY_EXISTS),
        ("oak", "request-1", b"other", reasons.ERROR_REASON_REQUEST_ID_REUSED),
        ("elm", "request-1", b"other", reasons.ERROR_REASON_REQUEST_ID_REUSED),
    ],
)
async def test_creations_that_are_refused(
    store: Store, school_id: str, request_id: str, digest: bytes, reason: int
) -> None:
    await store.schools.create(school(), "request-1", b"d")
    with pytest.raises(ServiceError) as raised:
        await store.schools.create(school(school_id), request_id, digest)
    assert raised.value.reason == reason


async def test_of_many_creations_at_once_one_succeeds(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.schools.create(school(), f"request-{number}", b"d") for number in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, School) for outcome in outcomes) == 1


async def test_an_update_changes_what_is_named_and_nothing_else(store: Store, clock: SettableClock) -> None:
    created = await store.schools.create(school(data_profile=["student.*"]), "request-1", b"d")
    clock.advance(seconds=5)
    wanted = School(
        school_id="oak", display_name="Elm", settings={"x": "y"}, connector="other", etag=created.etag
    )
    updated = await store.schools.update(
        wanted, ["display_name", "settings", "data_profile"], "request-2", b"d"
    )
    assert (updated.display_name, dict(updated.settings), list(updated.data_profile)) == (
        "Elm",
        {"x": "y"},
        [],
    )
    assert (updated.connector, updated.created_at) == ("mis", created.created_at)
    assert updated.updated_at.ToDatetime(tzinfo=clock.now.tzinfo) == clock.now
    assert updated.etag != created.etag
    assert await store.schools.get("oak") == updated


async def test_an_update_under_an_old_etag_is_refused(store: Store) -> None:
    created = await store.schools.create(school(), "request-1", b"d")
    await store.schools.update(School(school_id="oak", display_name="A"), ["display_name"], "request-2", b"d")
    with pytest.raises(ServiceError) as raised:
        await store.schools.update(
            School(school_id="oak", display_name="B", etag=created.etag), ["display_name"], "request-3", b"d"
        )
    assert raised.value.reason == reasons.ERROR_REASON_ETAG_MISMATCH
    assert (await store.schools.get("oak")).display_name == "A"


async def test_of_updates_under_one_etag_one_succeeds(store: Store) -> None:
    created = await store.schools.create(school(), "request-0", b"d")
    outcomes = await asyncio.gather(
        *(
            store.schools.update(
                School(school_id="oak", display_name=f"{number}", etag=created.etag),
                ["display_name"],
                f"request-{number}",
                b"d",
            )
            for number in range(1, 6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, School) for outcome in outcomes) == 1


async def test_updates_without_etag_that_meet_all_succeed(store: Store) -> None:
    await store.schools.create(school(), "request-1", b"d")

    async def rename(writer: int) -> None:
        for turn in range(4):
            await store.schools.update(
                School(school_id="oak", display_name=f"{writer}"), ["display_name"], f"{writer}-{turn}", b"d"
            )

    await asyncio.gather(*(rename(writer) for writer in range(16)))
    assert (await store.schools.get("oak")).etag == "r65"


@pytest.mark.timeout(30)
async def test_an_update_that_others_never_let_through_says_so(opened: OpenStore) -> None:
    quiet = opened()
    await quiet.schools.create(school(), "request-1", b"d")
    others = 0

    async def intrude(step: Step) -> None:
        nonlocal others
        if (step.moment, step.operation) == ("before", "update_one"):
            others += 1
            await quiet.schools.update(
                School(school_id="oak", display_name=f"{others}"), ["display_name"], f"other-{others}", b"d"
            )

    busy = opened(intrude)
    with pytest.raises(ServiceError, match="changed by others during each of 11 attempts") as refused:
        await busy.schools.update(School(school_id="oak", time_zone="UTC"), ["time_zone"], "request-2", b"d")
    assert refused.value.reason == reasons.ERROR_REASON_ETAG_MISMATCH
    assert others == 11


async def test_a_repeated_update_gets_the_first_result(store: Store) -> None:
    await store.schools.create(school(), "request-1", b"d")
    change = School(school_id="oak", display_name="A")
    first = await store.schools.update(change, ["display_name"], "request-2", b"d")
    await store.schools.update(School(school_id="oak", display_name="B"), ["display_name"], "request-3", b"d")
    assert await store.schools.update(change, ["display_name"], "request-2", b"d") == first
    assert (await store.schools.get("oak")).display_name == "B"
    with pytest.raises(ServiceError) as raised:
        await store.schools.update(change, ["display_name"], "request-2", b"other")
    assert raised.value.reason == reasons.ERROR_REASON_REQUEST_ID_REUSED


async def test_what_cannot_be_updated(store: Store) -> None:
    await store.schools.create(school(), "request-1", b"d")
    with pytest.raises(ServiceError) as raised:
        await store.schools.update(school(), ["connector", "display_name", "shoe_size"], "request-2", b"d")
    assert raised.value.reason == reasons.ERROR_REASON_REQUEST_INVALID
    assert len(raised.value.violations) == 2


async def test_a_school_that_is_not_there(store: Store, clock: SettableClock) -> None:
    for ask in (
        store.schools.get("oak"),
        store.schools.update(school(), ["display_name"], "request-1", b"d"),
        store.schools.put_credentials("oak", b"c", clock.now, "request-c"),
        store.schools.credentials("oak"),
    ):
        with pytest.raises(ServiceError) as raised:
            await ask
        assert raised.value.reason == reasons.ERROR_REASON_SCHOOL_NOT_FOUND


async def test_schools_are_listed_by_id_and_as_far_as_the_caller_may_see(store: Store) -> None:
    for number in range(5):
        await store.schools.create(school(f"school-{number}"), f"request-{number}", b"d")
    assert [s.school_id for s in await store.schools.list("", 2)] == ["school-0", "school-1"]
    assert [s.school_id for s in await store.schools.list("school-1", 9)] == [
        "school-2",
        "school-3",
        "school-4",
    ]
    only = {"school-1", "school-4", "school-9"}
    assert [s.school_id for s in await store.schools.list("", 9, only)] == ["school-1", "school-4"]
    assert await store.schools.list("", 9, frozenset()) == []


async def test_stored_credentials_show_and_survive_updates(store: Store, clock: SettableClock) -> None:
    await store.schools.create(school(), "request-1", b"d")
    await store.schools.put_credentials("oak", b"\x00cipher", clock.now, "request-c")
    shown = await store.schools.update(School(school_id="oak"), ["time_zone"], "request-2", b"d")
    assert shown.has_credentials
    assert shown.credentials_set_at.ToDatetime(tzinfo=clock.now.tzinfo) == clock.now
    assert shown == await store.schools.get("oak")
    assert await store.schools.credentials("oak") == b"\x00cipher"
    await store.schools.drop_credentials("oak")
    assert await store.schools.credentials("oak") is None
    assert not (await store.schools.get("oak")).has_credentials


ENDPOINTS = {"host": "https://mis.example", "port": "443"}


async def with_credentials(store: Store, clock: SettableClock) -> School:
    await store.schools.create(school(), "request-1", b"d")
    await store.schools.put_credentials("oak", b"cipher", clock.now, "request-c")
    return await store.schools.get("oak")


def moved(host: str = "https://elsewhere.example", **fields: str) -> School:
    return School(school_id="oak", settings={"host": host}, **fields)  # type: ignore[arg-type]  # any field


async def test_the_write_that_moves_an_endpoint_drops_the_credentials(
    store: Store, clock: SettableClock
) -> None:
    await with_credentials(store, clock)
    shown = await store.schools.update(moved(), ["settings"], "request-2", b"d", ENDPOINTS)
    assert not shown.has_credentials
    assert not shown.HasField("credentials_set_at")
    assert await store.schools.get("oak") == shown
    assert await store.schools.credentials("oak") is None
    back = moved("https://mis.example")
    assert not (
        await store.schools.update(back, ["settings"], "request-3", b"d", ENDPOINTS)
    ).has_credentials, "moving back does not bring them back"
    await store.schools.put_credentials("oak", b"late repetition", clock.now, "request-c")
    assert await store.schools.credentials("oak") is None


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({"host": "https://mis.example"}, ["settings"]),
        ({"host": "https://mis.example", "port": "443"}, ["settings"]),
        ({}, ["settings"]),
        ({"host": "https://mis.example", "timeout": "3"}, ["settings", "display_name"]),
        ({"host": "https://elsewhere.example"}, ["display_name"]),
    ],
)
async def test_what_leaves_the_endpoints_where_they_are_drops_nothing(
    store: Store, clock: SettableClock, settings: dict[str, str], paths: list[str]
) -> None:
    await with_credentials(store, clock)
    wanted = School(school_id="oak", settings=settings)
    assert (await store.schools.update(wanted, paths, "request-2", b"d", ENDPOINTS)).has_credentials
    assert await store.schools.credentials("oak") == b"cipher"


async def test_an_update_that_fails_drops_nothing(store: Store, clock: SettableClock) -> None:
    shown = await with_credentials(store, clock)
    await store.schools.update(School(school_id="oak"), ["time_zone"], "request-2", b"d")
    for wanted, paths, request_id in (
        (moved(etag=shown.etag), ["settings"], "request-3"),
        (moved(), ["settings"], "request-2"),
        (moved(), ["settings", "connector"], "request-4"),
    ):
        with pytest.raises(ServiceError):
            await store.schools.update(wanted, paths, request_id, b"other", ENDPOINTS)
    assert await store.schools.credentials("oak") == b"cipher"


async def test_a_repeated_move_does_not_drop_what_was_set_since(store: Store, clock: SettableClock) -> None:
    await with_credentials(store, clock)
    await store.schools.update(moved(), ["settings"], "request-2", b"d", ENDPOINTS)
    await store.schools.put_credentials("oak", b"new", clock.now, "request-n")
    again = await store.schools.update(moved(), ["settings"], "request-2", b"d", ENDPOINTS)
    assert again.has_credentials
    assert await store.schools.credentials("oak") == b"new"


async def test_credentials_that_come_during_a_move_are_dropped_with_it(
    store: Store, opened: OpenStore, clock: SettableClock
) -> None:
    """They were meant for where the school pointed when they came."""

    async def between(step: Step) -> None:
        if (step.moment, step.operation) == ("before", "update_one"):
            await store.schools.put_credentials("oak", b"new", clock.now, "request-n")

    await store.schools.create(school(), "request-1", b"d")
    watched = opened(between)
    await watched.schools.update(moved(), ["settings"], "request-2", b"d", ENDPOINTS)
    assert await store.schools.credentials("oak") is None
