"""What the MIS showed since the sealed rows were read stays when these are read anew (G07, G08).

An edit counts whatever lies on top of it, and whichever record the edited one lives on in. Mutations that
the tests here were seen to fail for are in ``scripts/mutants.py``.
"""

from __future__ import annotations

import uuid

import orjson
import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Transient
from schoolgate_server.store.store import Store
from schoolgate_server.sync.supervisor import Supervisor
from tests.support.engine import SCHOOL, Engine, engine_over, outcome, record_id
from tests.support.overtaking import interrupted, launching_all_but, stand_aside
from tests.support.reparsed import (
    SHOUTED,
    causes,
    connector_with_versions,
    promote,
    reproject_only,
    versions,
)
from tests.support.scripted import GROUPS, STUDENTS, ScriptedMis, group, key_of, student

PUPILS = 30


def pupil(number: int) -> str:
    return record_id(kinds.KIND_STUDENT, STUDENTS, number)


async def surname(store: Store, number: int) -> str:
    return (await versions(store, pupil(number)))[-1].student.surname


def filled() -> ScriptedMis:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, PUPILS + 1)]
    mis.rows[GROUPS] = [group(n) for n in range(1, 31)]
    return mis


async def edit(engine: Engine, number: int, name: str) -> None:
    """Give a pupil another surname, and take it in with a read that is not sealed."""
    engine.mis.rows[STUDENTS][number - 1]["surname"] = name
    await unsealed_read(engine)


async def unsealed_read(engine: Engine) -> None:
    """Have a read break off after its first two pages were stored."""

    def break_off(dataset: str, index: int) -> None:
        if index == 2:
            raise Transient("HTTP 502")

    engine.mis.on_page = break_off
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert part.state == pb.DATASET_STATE_FAILED
    engine.mis.on_page = lambda dataset, index: None


async def merge(engine: Engine, merged: int, survivor: int) -> None:
    data = {"type": "merge", "merged_id": pupil(merged), "survivor_id": pupil(survivor)}
    run = await engine.supervisor.start_operation(SCHOOL, orjson.dumps(data), str(uuid.uuid4()), "tests")
    assert (await engine.finish(run.run_id)).state == pb.RUN_STATE_SUCCEEDED


async def test_g07_an_edit_counts_though_a_merge_lies_on_top_of_it(store: Store) -> None:
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        await edit(engine, 2, "Okafor")
        await merge(engine, 3, into := 2)
        assert await causes(store, pupil(into)) == ["SOURCE", "SOURCE", "IDENTITY"]
        await promote(store, SHOUTED)
        part = outcome(await reproject_only(engine), STUDENTS)
        assert (part.state, part.reprojected) == (pb.DATASET_STATE_SUCCEEDED, PUPILS - 2)
        assert await surname(store, into) == "Okafor"


async def test_g07_an_edit_of_a_record_that_lives_on_as_one_that_had_left_is_kept(store: Store) -> None:
    """Its rows are the other's from then on, and the edit stands in its own history."""
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        [gone] = [mis.rows[STUDENTS].pop(PUPILS - 1)]
        await engine.sync(STUDENTS)
        await edit(engine, 2, "Okafor")
        await merge(engine, 2, survivor := gone["id"])
        assert await causes(store, pupil(survivor)) == ["SOURCE", "SOURCE", "IDENTITY"]
        assert await surname(store, survivor) == "Okafor"
        await promote(store, SHOUTED)
        part = outcome(await reproject_only(engine), STUDENTS)
        assert (part.state, part.reprojected) == (pb.DATASET_STATE_SUCCEEDED, PUPILS - 2)
        assert await surname(store, survivor) == "Okafor"
        # What is read next of this one differs by the reading alone, and is marked so.
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert (part.reprojected, part.updated) == (1, 0)
        assert await surname(store, survivor) == "OKAFOR"


async def test_g07_an_edit_is_kept_through_a_chain_of_merges(store: Store) -> None:
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        del mis.rows[STUDENTS][PUPILS - 2 :]
        await engine.sync(STUDENTS)
        await edit(engine, 2, "Okafor")
        await merge(engine, 2, PUPILS)
        await merge(engine, PUPILS, PUPILS - 1)
        await promote(store, SHOUTED)
        assert outcome(await reproject_only(engine), STUDENTS).state == pb.DATASET_STATE_SUCCEEDED
        assert await surname(store, PUPILS - 1) == "Okafor"


async def test_g08_of_two_edits_under_two_readings_the_later_one_is_what_is_stored(store: Store) -> None:
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        await edit(engine, 2, "Okafor")
        await promote(store, SHOUTED)
        await unsealed_read(engine)
        await edit(engine, 2, "Reid")
        assert await causes(store, pupil(2)) == ["SOURCE", "SOURCE", "REPROJECTION", "SOURCE"]
        await promote(store, 1)
        part = outcome(await reproject_only(engine), STUDENTS)
        assert (part.state, part.reprojected) == (pb.DATASET_STATE_SUCCEEDED, PUPILS - 1)
        assert await surname(store, 2) == "REID"
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert (part.reprojected, part.updated) == (1, 0)
        assert (await causes(store, pupil(2)))[4:] == ["REPROJECTION"]
        assert [record.student.surname for record in await versions(store, pupil(2))] == [
            "Surname 2",
            "Okafor",
            "OKAFOR",
            "REID",
            "Reid",
        ]


async def held_read(engine: Engine) -> pb.DatasetRun:
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert part.state == pb.DATASET_STATE_HELD
    return part


async def test_g08_what_a_held_read_found_as_it_is_stored_is_an_edit_when_it_changes(store: Store) -> None:
    """Nothing is sealed while a hold waits, but who was read, and how, is known; not of who was missing."""
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        await edit(engine, 2, "OKAFOR")
        await edit(engine, 3, "OBI")
        kept = mis.rows[STUDENTS]
        await promote(store, SHOUTED)
        mis.rows[STUDENTS] = [kept[1]]
        await held_read(engine)
        assert await causes(store, pupil(2)) == ["SOURCE", "SOURCE"]
        mis.rows[STUDENTS] = [{**kept[1], "surname": "Reid"}, {**kept[2], "surname": "Otis"}]
        await held_read(engine)
        assert await causes(store, pupil(2)) == ["SOURCE", "SOURCE", "SOURCE"]
        assert await causes(store, pupil(3)) == ["SOURCE", "SOURCE", "REPROJECTION"]


async def test_g08_what_a_held_read_found_counts_as_read_that_way_when_this_is_taken_back(
    store: Store,
) -> None:
    """The row changed meanwhile in what only the first reading sees: for the second one it was as before."""
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        await edit(engine, 2, "OKAFOR")
        await promote(store, SHOUTED)
        mis.rows[STUDENTS] = [{**mis.rows[STUDENTS][1], "surname": "Okafor"}]
        await held_read(engine)
        await promote(store, 1)
        await held_read(engine)
        assert await causes(store, pupil(2)) == ["SOURCE", "SOURCE", "REPROJECTION"]


async def test_g08_an_edit_that_was_read_otherwise_since_is_no_edit_when_that_is_taken_back(
    store: Store,
) -> None:
    mis = filled()
    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        await edit(engine, 2, "Okafor")
        await promote(store, SHOUTED)
        await unsealed_read(engine)
        assert await causes(store, pupil(2)) == ["SOURCE", "SOURCE", "REPROJECTION"]
        await promote(store, 1)
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert (part.reprojected, part.updated) == (PUPILS, 0)
        assert await surname(store, 2) == "Okafor"
        assert set((await causes(store, pupil(2)))[2:]) == {"REPROJECTION"}


async def test_g07_what_was_read_before_a_run_sealed_its_rows_is_newer_than_these(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that seals the pupils' rows goes on for long; a notification's run comes in between."""
    mis = filled()
    connector = connector_with_versions(mis)
    async with engine_over(store, mis, connector=connector) as engine:
        run_id = await interrupted(engine, STUDENTS, GROUPS, at=(GROUPS, 1))
    await stand_aside(store, run_id)
    mis.rows[STUDENTS][1]["surname"] = "Okafor"
    with monkeypatch.context() as patched:
        patched.setattr(Supervisor, "_launch", launching_all_but(run_id))
        async with engine_over(store, mis, connector=connector, owner="server-2") as engine:
            key = key_of(STUDENTS, mis.rows[STUDENTS][1])
            targeted = await engine.supervisor.notify(
                SCHOOL, kinds.KIND_STUDENT, [key], str(uuid.uuid4()), "tests"
            )
            assert outcome(await engine.finish(targeted.run_id), STUDENTS).updated == 1
    async with engine_over(store, mis, connector=connector, owner="server-3") as engine:
        run = await engine.finish(run_id)
        assert (run.state, run.resumptions) == (pb.RUN_STATE_SUCCEEDED, 1)
        await promote(store, SHOUTED)
        part = outcome(await reproject_only(engine), STUDENTS)
        assert (part.state, part.reprojected) == (pb.DATASET_STATE_SUCCEEDED, PUPILS - 1)
        assert await causes(store, pupil(2)) == ["SOURCE", "SOURCE"]
        assert await surname(store, 2) == "Okafor"
