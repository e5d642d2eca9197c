"""What looks wrong is set aside, and let through only as exactly the change set that was approved."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_OUT_OF_SCOPE, TOMBSTONE_REASON_UNKNOWN_ABSENCE
from schoolgate_sdk import Transient
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, Engine, engine_over, move_site, outcome
from tests.support.scripted import MARKS, STUDENTS, mark, student

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


async def first_run(engine: Engine, students: int = 100) -> None:
    engine.mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, students + 1)]
    run = await engine.sync(STUDENTS)
    assert run.state == pb.RUN_STATE_SUCCEEDED


async def open_hold(engine: Engine) -> pb.Hold:
    [hold] = await engine.store.holds.list(SCHOOL)
    return hold


async def approve(engine: Engine) -> None:
    hold = await open_hold(engine)
    await engine.store.holds.approve(SCHOOL, hold.hold_id, hold.digest, "operator", NOW)


async def surnames(engine: Engine) -> set[str]:
    return {record.student.surname for record in await engine.records(kinds.KIND_STUDENT, tombstones=False)}


async def test_g02_approved_deletions_are_applied_by_the_next_run(engine: Engine) -> None:
    await first_run(engine)
    del engine.mis.rows[STUDENTS][:50]
    await engine.sync(STUDENTS)
    await approve(engine)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.tombstoned, part.held) == (pb.DATASET_STATE_SUCCEEDED, 50, 0)
    assert await engine.store.holds.list(SCHOOL) == []
    dead = [r for r in await engine.records(kinds.KIND_STUDENT) if r.HasField("tombstone")]
    assert {record.tombstone.reason for record in dead} == {TOMBSTONE_REASON_UNKNOWN_ABSENCE}


async def test_g02_an_approval_is_for_exactly_one_change_set(engine: Engine) -> None:
    await first_run(engine)
    del engine.mis.rows[STUDENTS][:50]
    await engine.sync(STUDENTS)
    await approve(engine)
    del engine.mis.rows[STUDENTS][:1]
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.tombstoned, part.held) == (pb.DATASET_STATE_HELD, 0, 51)
    hold = await open_hold(engine)
    assert (hold.tombstones, hold.HasField("approved_at")) == (51, False)


async def test_g01_an_approved_deletion_is_still_checked_with_the_mis(engine: Engine) -> None:
    await first_run(engine)
    engine.mis.truncate[STUDENTS] = 50
    await engine.sync(STUDENTS)
    await approve(engine)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.tombstoned) == (pb.DATASET_STATE_INCOMPLETE, 0)
    assert await engine.live(kinds.KIND_STUDENT) == 100


async def test_g02_a_change_of_nearly_everybody_is_held_and_joiners_go_through(engine: Engine) -> None:
    await first_run(engine)
    before = await surnames(engine)
    for row in engine.mis.rows[STUDENTS][:80]:
        row["surname"] += " of another school"
    engine.mis.rows[STUDENTS].append(student(9001, "Joiner"))
    run = await engine.sync(STUDENTS)
    part = outcome(run, STUDENTS)
    assert (part.state, part.updated, part.held, part.created) == (pb.DATASET_STATE_HELD, 0, 80, 1)
    assert part.unchanged == 20
    assert await surnames(engine) == before | {"Joiner"}
    hold = await open_hold(engine)
    assert (hold.updates, hold.tombstones) == (80, 0)
    assert "80 of 100 student records (80%) changed at once" in hold.explanation
    await approve(engine)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.updated, part.held) == (pb.DATASET_STATE_SUCCEEDED, 80, 0)


async def test_g02_a_read_that_breaks_off_changes_nobody_when_it_changes_nearly_everybody(
    engine: Engine,
) -> None:
    await first_run(engine)
    before = await surnames(engine)
    for row in engine.mis.rows[STUDENTS]:
        row["surname"] = "Elsewhere"

    def break_off(dataset: str, index: int) -> None:
        if index == 9:
            raise Transient("HTTP 502")

    engine.mis.on_page = break_off
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.updated) == (pb.DATASET_STATE_FAILED, 0)
    assert await surnames(engine) == before


async def test_g02_another_schools_rows_are_held_as_one_change_set(engine: Engine) -> None:
    await first_run(engine)
    before = await surnames(engine)
    engine.mis.rows[STUDENTS] = [student(n, f"Elsewhere {n}") for n in range(1, 86)]
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.updated, part.held) == (0, 85)
    engine.mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 101)]
    run = await engine.sync(STUDENTS)
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert await surnames(engine) == before
    assert await engine.store.holds.list(SCHOOL) == []


async def test_g08_a_new_profile_may_change_everybody(store: Store) -> None:
    async with engine_over(store) as engine:
        await first_run(engine)
        for row in engine.mis.rows[STUDENTS]:
            row["ethnicity_code"] = "WBRI"
        assert outcome(await engine.sync(STUDENTS), STUDENTS).updated == 0
        school = await store.schools.get(SCHOOL)
        school.data_profile.append("student.ethnicity_code")
        await store.schools.update(school, ["data_profile"], "22222222-2222-4222-8222-222222222222", b"")
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert part.state == pb.DATASET_STATE_SUCCEEDED
        assert (part.updated, part.reprojected) == (0, 100)


async def test_g08_what_an_operator_says_is_out_of_scope_is_tombstoned_so(engine: Engine) -> None:
    await first_run(engine)
    engine.mis.rows[STUDENTS].pop()
    await move_site(engine.store)
    await engine.sync(STUDENTS)
    await approve(engine)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 1)
    [dead] = [r for r in await engine.records(kinds.KIND_STUDENT) if r.HasField("tombstone")]
    assert dead.tombstone.reason == TOMBSTONE_REASON_OUT_OF_SCOPE


async def test_a_discarded_hold_comes_back_while_it_still_looks_wrong(engine: Engine) -> None:
    await first_run(engine)
    del engine.mis.rows[STUDENTS][:50]
    await engine.sync(STUDENTS)
    hold = await open_hold(engine)
    await engine.store.holds.discard(SCHOOL, hold.hold_id, hold.digest)
    assert await engine.store.holds.list(SCHOOL) == []
    assert outcome(await engine.sync(STUDENTS), STUDENTS).state == pb.DATASET_STATE_HELD
    assert (await open_hold(engine)).digest == hold.digest


async def test_a_hold_is_resolved_by_its_digest_only(engine: Engine) -> None:
    await first_run(engine)
    del engine.mis.rows[STUDENTS][:50]
    await engine.sync(STUDENTS)
    hold = await open_hold(engine)
    with pytest.raises(ServiceError) as raised:
        await engine.store.holds.approve(SCHOOL, hold.hold_id, "another", "operator", NOW)
    assert raised.value.reason == reasons.ERROR_REASON_HOLD_DIGEST_MISMATCH
    with pytest.raises(ServiceError) as raised:
        await engine.store.holds.discard(SCHOOL, "hld_another", hold.digest)
    assert raised.value.reason == reasons.ERROR_REASON_HOLD_NOT_FOUND


def half_leave(rows: list[dict[str, Any]]) -> None:
    del rows[:50]


def all_change(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["surname"] += " the Younger"


@pytest.mark.parametrize(("edit", "number"), [(half_leave, 50), (all_change, 100)])
async def test_g10_what_a_crash_left_of_an_approved_change_set_is_applied_by_the_resumed_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, edit: Any, number: int
) -> None:
    """Seen to fail without ``begin``, and with marks that are not looked at: the rest was held anew."""
    reached, commit, commits = asyncio.Event(), store.commits.commit, list[Any]()

    async def stall_at_the_third(*arguments: Any) -> None:
        commits.append(arguments)
        if len(commits) == 3:
            reached.set()
            await asyncio.Event().wait()
        await commit(*arguments)

    async with engine_over(store) as engine:
        await first_run(engine)
        edit(engine.mis.rows[STUDENTS])
        await engine.sync(STUDENTS)
        await approve(engine)
        monkeypatch.setattr(store.commits, "commit", stall_at_the_third)
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
        await reached.wait()
    monkeypatch.setattr(store.commits, "commit", commit)
    async with engine_over(store, engine.mis, owner="server-2") as engine:
        part = outcome(await engine.finish(accepted.run_id), STUDENTS)
        assert (part.state, part.tombstoned + part.updated, part.held) == (
            pb.DATASET_STATE_SUCCEEDED,
            number,
            0,
        )
        assert await store.holds.list(SCHOOL) == []


async def test_g02_what_a_crash_left_is_not_applied_with_one_change_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where any mark, and not every change's, counts as an approval."""

    async def die(*_: Any) -> None:
        raise RuntimeError("the process is gone")

    async with engine_over(store) as engine:
        await first_run(engine)
        del engine.mis.rows[STUDENTS][:50]
        await engine.sync(STUDENTS)
        await approve(engine)
        with monkeypatch.context() as patch:
            patch.setattr(store.commits, "commit", die)
            await engine.sync(STUDENTS)
        assert await store.holds.begun(SCHOOL, STUDENTS)
        engine.mis.rows[STUDENTS].pop()
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert (part.state, part.tombstoned, part.held) == (pb.DATASET_STATE_HELD, 0, 51)


async def test_g02_a_school_is_measured_by_its_own_thresholds(engine: Engine) -> None:
    """Seen to fail, in each of its halves, where the server's thresholds are taken for every school."""
    await first_run(engine)
    school = await engine.store.schools.get(SCHOOL)
    threshold = school.hold_thresholds.add(kind=kinds.KIND_STUDENT)
    threshold.deletions_fraction = threshold.deletions_count = 0
    threshold.updates_fraction = threshold.updates_count = 0
    changed = ["hold_thresholds"]
    await engine.store.schools.update(school, changed, "22222222-2222-4222-8222-222222222222", b"")
    gone = engine.mis.rows[STUDENTS].pop()
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.tombstoned, part.held) == (pb.DATASET_STATE_HELD, 0, 1)
    engine.mis.rows[STUDENTS].append(gone)
    engine.mis.rows[STUDENTS][0]["surname"] = "Changed"
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.updated, part.held) == (pb.DATASET_STATE_HELD, 0, 1)


async def test_g02_a_window_leaves_alone_what_a_whole_snapshot_had_held(engine: Engine) -> None:
    """Seen to fail where every sealed snapshot closes the dataset's hold: no approval ever came to effect."""
    days = [f"2026-10-{day:02d}" for day in range(1, 29)]
    engine.mis.rows[MARKS] = [mark(n, day) for n in range(1, 6) for day in days]
    assert (await engine.sync(MARKS)).state == pb.RUN_STATE_SUCCEEDED
    engine.mis.rows[MARKS] = [row for row in engine.mis.rows[MARKS] if row["date"] > "2026-10-15"]
    assert outcome(await engine.sync(MARKS), MARKS).state == pb.DATASET_STATE_HELD
    await approve(engine)
    window = await engine.supervisor.start_sync(
        SCHOOL,
        [MARKS],
        str(uuid.uuid4()),
        "tests",
        layer=pb.SYNC_LAYER_WINDOW,
        date_from="2026-10-20",
        date_to="2026-10-25",
    )
    assert (await engine.finish(window.run_id)).state == pb.RUN_STATE_SUCCEEDED
    part = outcome(await engine.sync(MARKS), MARKS)
    assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 75)


async def test_g08_another_school_under_the_same_numbers_changes_nobody(engine: Engine) -> None:
    """A mistyped school number. Seen to fail where a changed scope lets updates in mass through."""
    await first_run(engine)
    ours = [dict(row) for row in engine.mis.rows[STUDENTS]]
    before = {r.id: r.student.surname for r in await engine.records(kinds.KIND_STUDENT)}
    await move_site(engine.store)
    for row in engine.mis.rows[STUDENTS]:
        row["surname"] = "Stranger"
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.updated) == (pb.DATASET_STATE_HELD, 0)
    await move_site(engine.store, "main")
    engine.mis.rows[STUDENTS] = ours
    again = await engine.sync(STUDENTS)
    assert (again.state, again.seq_after) == (pb.RUN_STATE_SUCCEEDED, again.seq_before)
    assert {r.id: r.student.surname for r in await engine.records(kinds.KIND_STUDENT)} == before
