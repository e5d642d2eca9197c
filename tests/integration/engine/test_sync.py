"""What an ordinary run does."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_MEANING_AUTHORISED_ABSENCE, ATTENDANCE_MEANING_PRESENT
from schoolgate.v1.people_pb2 import SEX_FEMALE
from schoolgate_server.ingest import pipeline
from schoolgate_server.model.changes import Commit
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.leases import Lease
from tests.support.engine import SCHOOL, Engine, engine_over, outcome, record_id
from tests.support.scripted import GROUPS, MARKS, MEMBERSHIPS, STUDENTS, group, mark, member, student


def fill(engine: Engine, students: int = 25) -> None:
    rows = engine.mis.rows
    rows[STUDENTS] = [student(n, f"Surname {n}", person=1000 + n) for n in range(1, students + 1)]
    rows[GROUPS] = [group(1, "7A"), group(2, "7B")]
    rows[MEMBERSHIPS] = [member(1 + n % 2, 1000 + n) for n in range(1, students + 1)]
    rows[MARKS] = [mark(n, "2026-10-01") for n in range(1, students + 1)]


async def test_a_first_run_creates_every_record(engine: Engine) -> None:
    fill(engine)
    run = await engine.sync()
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert [(d.dataset, d.created, d.rows_read) for d in run.datasets] == [
        (STUDENTS, 25, 25),
        (GROUPS, 2, 2),
        (MEMBERSHIPS, 25, 25),
        (MARKS, 25, 25),
    ]
    assert run.seq_after > run.seq_before == 0
    assert await engine.live(kinds.KIND_STUDENT) == 25
    assert outcome(run, STUDENTS).pages_read == 3


async def test_references_resolve_by_own_and_by_further_keys(engine: Engine) -> None:
    fill(engine, 3)
    await engine.sync()
    memberships = [record.group_membership for record in await engine.records(kinds.KIND_GROUP_MEMBERSHIP)]
    students = {record_id(kinds.KIND_STUDENT, STUDENTS, n) for n in (1, 2, 3)}
    assert {membership.student_id for membership in memberships} == students
    assert {membership.group_id for membership in memberships} == {
        record_id(kinds.KIND_GROUP, GROUPS, n) for n in (1, 2)
    }
    marks = [record.attendance_mark for record in await engine.records(kinds.KIND_ATTENDANCE_MARK)]
    assert {each.student_id for each in marks} == students


async def test_an_unknown_person_leaves_the_reference_out_and_says_so(engine: Engine) -> None:
    fill(engine, 3)
    engine.mis.rows[MEMBERSHIPS].append(member(1, 9999))
    run = await engine.sync()
    assert run.state == pb.RUN_STATE_SUCCEEDED
    orphans = [
        record
        for record in await engine.records(kinds.KIND_GROUP_MEMBERSHIP)
        if not record.group_membership.HasField("student_id")
    ]
    assert len(orphans) == 1
    [decision] = await engine.decisions(MEMBERSHIPS)
    assert decision.field == "student_id"


async def test_codes_get_their_meaning_and_the_profile_drops_what_it_does_not_name(engine: Engine) -> None:
    engine.mis.rows[STUDENTS] = [student(1, sex_code="F", ethnicity_code="WBRI", forename="Zoë")]
    engine.mis.rows[MARKS] = [
        mark(1, "2026-10-01", "/"),
        mark(1, "2026-10-02", "I"),
        mark(1, "2026-10-05", "?!"),
    ]
    await engine.sync(STUDENTS, MARKS)
    [pupil] = await engine.records(kinds.KIND_STUDENT)
    assert pupil.student.forename == "Zoë"
    assert not pupil.student.HasField("ethnicity_code")
    assert not pupil.student.HasField("sex")  # the core profile does not ask for it
    meanings = {
        record.attendance_mark.code: record.attendance_mark.meaning
        for record in await engine.records(kinds.KIND_ATTENDANCE_MARK)
        if record.attendance_mark.HasField("meaning")
    }
    assert meanings == {"/": ATTENDANCE_MEANING_PRESENT, "I": ATTENDANCE_MEANING_AUTHORISED_ABSENCE}
    assert [decision.field for decision in await engine.decisions(MARKS)] == ["attendance_mark.code"]


@pytest.mark.profile(["student.*"])
async def test_a_wider_profile_keeps_more(engine: Engine) -> None:
    engine.mis.rows[STUDENTS] = [student(1, sex_code="F", ethnicity_code="WBRI")]
    await engine.sync(STUDENTS)
    [pupil] = await engine.records(kinds.KIND_STUDENT)
    assert (pupil.student.ethnicity_code, pupil.student.sex) == ("WBRI", SEX_FEMALE)


async def test_changes_make_versions(engine: Engine) -> None:
    fill(engine)
    await engine.sync()
    engine.mis.rows[STUDENTS][4]["surname"] = "Renamed"
    run = await engine.sync()
    part = outcome(run, STUDENTS)
    assert (part.created, part.updated, part.unchanged) == (0, 1, 24)
    versions = await engine.store.records.versions(
        SCHOOL, record_id(kinds.KIND_STUDENT, STUDENTS, 5), None, 10
    )
    assert [(record.version, record.student.surname) for record, _ in versions] == [
        (2, "Renamed"),
        (1, "Surname 5"),
    ]
    assert versions[0][0].run_id == run.run_id


async def test_the_same_request_id_starts_one_run(engine: Engine) -> None:
    fill(engine)
    request = str(uuid.uuid4())
    first = await engine.supervisor.start_sync(SCHOOL, [], request, "tests")
    again = await engine.supervisor.start_sync(SCHOOL, [], request, "tests")
    assert first.run_id == again.run_id
    await engine.finish(first.run_id)
    with pytest.raises(ServiceError) as raised:
        await engine.supervisor.start_sync(SCHOOL, [STUDENTS], request, "tests")
    assert raised.value.reason == reasons.ERROR_REASON_REQUEST_ID_REUSED


async def test_a_second_run_is_refused_while_one_is_at_work(engine: Engine) -> None:
    fill(engine)
    first = await engine.supervisor.start_sync(SCHOOL, [], str(uuid.uuid4()), "tests")
    with pytest.raises(ServiceError) as raised:
        await engine.supervisor.start_sync(SCHOOL, [], str(uuid.uuid4()), "tests")
    assert raised.value.reason == reasons.ERROR_REASON_RUN_IN_PROGRESS
    assert raised.value.metadata == {"run_id": first.run_id}


async def test_an_unknown_dataset_is_named(engine: Engine) -> None:
    with pytest.raises(ServiceError) as raised:
        await engine.sync("lunches")
    assert raised.value.reason == reasons.ERROR_REASON_DATASET_UNKNOWN
    assert raised.value.metadata["dataset"] == "lunches"


async def test_watching_ends_with_the_final_state_and_counts_only_up(engine: Engine) -> None:
    fill(engine, 60)
    accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
    rows: list[int] = []
    states: list[int] = []
    async for run in engine.supervisor.watch(SCHOOL, accepted.run_id):
        rows.append(run.datasets[0].rows_read)
        states.append(run.state)
    assert rows == sorted(rows)
    assert rows[-1] == 60
    assert states[-1] == pb.RUN_STATE_SUCCEEDED


async def test_watchers_see_changes_come_while_they_are_written(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for the end of the snapshot, and of many the writing takes minutes."""
    fill(engine, 200)
    await engine.sync(STUDENTS)
    for row in engine.mis.rows[STUDENTS][:21]:  # three commits
        row["surname"] = "Okafor"
    write, seen = engine.store.commits.commit, list[int]()

    async def watched(lease: Lease, commit: Commit) -> int:
        async with aclosing(engine.supervisor.watch(SCHOOL, commit.run_id)) as states:
            async for run in states:
                seen.append(run.datasets[0].updated)
                break
        return await write(lease, commit)

    monkeypatch.setattr(engine.store.commits, "commit", watched)
    await engine.sync(STUDENTS)
    first, second, third = seen
    assert first < second < third


@pytest.mark.parametrize("kept", [1_000, 5])
async def test_a_run_cancelled_while_its_changes_are_written_keeps_what_it_committed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Of 21 changes in commits of seven; more than ``kept`` are read once more from the retained rows."""
    monkeypatch.setattr(pipeline, "MAX_DEFERRED", kept)
    fill(engine, 200)
    await engine.sync(STUDENTS)
    for row in engine.mis.rows[STUDENTS][:21]:
        row["surname"] = "Okafor"
    write = engine.store.commits.commit

    async def cancelled(lease: Lease, commit: Commit) -> int:
        await engine.supervisor.cancel(SCHOOL, commit.run_id)
        return await write(lease, commit)

    with monkeypatch.context() as patch:
        patch.setattr(engine.store.commits, "commit", cancelled)
        run = await engine.sync(STUDENTS)
    assert run.state == pb.RUN_STATE_CANCELLED
    changed = [record for record in await engine.records(kinds.KIND_STUDENT) if record.version == 2]
    assert 0 < len(changed) < 21
    assert outcome(run, STUDENTS).updated == len(changed)
    assert outcome(await engine.sync(STUDENTS), STUDENTS).updated == 21 - len(changed)


async def test_a_watcher_outlives_whatever_ends_the_work_on_a_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine)
    recover, failing = engine.store.commits.recover, [True]

    async def stumble(lease: Lease) -> None:
        if failing:
            failing.clear()
            raise KeyError("unforeseen")
        await recover(lease)

    monkeypatch.setattr(engine.store.commits, "recover", stumble)
    accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
    watching = asyncio.create_task(engine.finish(accepted.run_id))
    while failing:
        await asyncio.sleep(0.01)
    async with engine_over(engine.store, engine.mis, owner="server-2"):  # its first sweep takes the run up
        run = await watching
    assert run.state == pb.RUN_STATE_SUCCEEDED


async def test_a_cancelled_run_keeps_what_it_committed(engine: Engine) -> None:
    fill(engine, 60)
    run_id = ""

    async def cancel_at_the_fourth_page(dataset: str, index: int) -> None:
        if index == 3:
            await engine.supervisor.cancel(SCHOOL, run_id)

    engine.mis.on_page = cancel_at_the_fourth_page
    run_id = (await engine.supervisor.start_sync(SCHOOL, [], str(uuid.uuid4()), "tests")).run_id
    run = await engine.finish(run_id)
    assert run.state == pb.RUN_STATE_CANCELLED
    assert {part.state for part in run.datasets} == {pb.DATASET_STATE_SKIPPED}
    assert 0 < await engine.live(kinds.KIND_STUDENT) < 60


async def test_a_run_cancelled_while_its_state_is_stored_ends_cancelled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail, as PARTIAL, where what is stored next alone takes note of the request."""
    fill(engine)
    save, asked = engine.store.runs.save, False

    async def save_and_be_cancelled(entry: RunEntry, epoch: int) -> None:
        nonlocal asked
        await save(entry, epoch)
        if not asked and outcome(entry.run, GROUPS).pages_read:
            asked = True
            await engine.supervisor.cancel(SCHOOL, entry.run.run_id)

    monkeypatch.setattr(engine.store.runs, "save", save_and_be_cancelled)
    run = await engine.sync(STUDENTS, GROUPS)
    assert asked
    assert run.state == pb.RUN_STATE_CANCELLED
    assert run.cancel_requested
    assert outcome(run, STUDENTS).state == pb.DATASET_STATE_SUCCEEDED
    assert outcome(run, GROUPS).state == pb.DATASET_STATE_SKIPPED


async def test_one_dataset_that_fails_leaves_the_others_be(engine: Engine) -> None:
    fill(engine)

    def explode(dataset: str, index: int) -> None:
        if dataset == GROUPS:
            raise RuntimeError("Ora Klein's row broke me")

    engine.mis.on_page = explode
    run = await engine.sync()
    assert run.state == pb.RUN_STATE_PARTIAL
    broken = outcome(run, GROUPS)
    assert broken.state == pb.DATASET_STATE_FAILED
    assert broken.failure.connector == "scripted"
    assert "RuntimeError" in broken.failure.message
    assert "Klein" not in str(run)
    assert outcome(run, MARKS).state == pb.DATASET_STATE_SUCCEEDED
