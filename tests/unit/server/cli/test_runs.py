from __future__ import annotations

import io

from rich.console import Console

from schoolgate.v1.failure_pb2 import AUDIENCE_SCHOOL, FAILURE_TYPE_HELD, FAILURE_TYPE_PERMISSION, Failure
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate.v1.sync_service_pb2 import (
    DATASET_STATE_FAILED,
    DATASET_STATE_HELD,
    DATASET_STATE_PENDING,
    DATASET_STATE_READING,
    DATASET_STATE_SUCCEEDED,
    RUN_STATE_PARTIAL,
    RUN_STATE_QUEUED,
    RUN_STATE_RUNNING,
    RUN_STATE_SUCCEEDED,
    SYNC_LAYER_CHANGES,
    SYNC_LAYER_FULL,
    SYNC_LAYER_TARGETED,
    SYNC_LAYER_WINDOW,
    CancelRunResponse,
    DatasetRun,
    DatasetState,
    GetRunResponse,
    ListRunsResponse,
    NotifyChangeResponse,
    Run,
    RunState,
    StartSyncResponse,
    WatchRunResponse,
)
from schoolgate_server.cli import progress
from schoolgate_server.model.failures import failure
from tests.unit.server.cli import conftest
from tests.unit.server.cli.fake import FakeServer


def run_of(
    state: RunState.ValueType,
    students: DatasetState.ValueType,
    marks: DatasetState.ValueType = DATASET_STATE_PENDING,
    rows: int = 0,
) -> Run:
    run = Run(run_id="run_1", school_id="oak", state=state, seq_before=3, seq_after=3)
    run.started_at.FromSeconds(1_790_000_000)
    if state in progress.FINAL:
        run.finished_at.FromSeconds(1_790_000_075)
        run.seq_after = 1200
    run.datasets.add(dataset="students", state=students, rows_read=1500, created=1498, unchanged=2)
    run.datasets.add(dataset="attendance_marks", state=marks, rows_read=rows, rows_expected=210_000)
    return run


def serve_a_run(fake: FakeServer, *states: Run) -> None:
    fake.on("SyncService/StartSync", StartSyncResponse(run=states[0]))
    fake.on("SyncService/WatchRun", [WatchRunResponse(run=state) for state in states])


def test_sync_without_a_terminal_writes_lines(ask: conftest.Run, fake: FakeServer) -> None:
    serve_a_run(
        fake,
        run_of(RUN_STATE_QUEUED, DATASET_STATE_PENDING),
        run_of(RUN_STATE_RUNNING, DATASET_STATE_READING),
        run_of(RUN_STATE_RUNNING, DATASET_STATE_SUCCEEDED, DATASET_STATE_READING, 100_000),
        run_of(RUN_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, 210_000),
    )
    outcome = ask("sync", "oak", "--dataset", "students", "--dataset", "attendance_marks")
    assert outcome.status == 0
    assert outcome.out.splitlines() == [
        "students: succeeded, 1,500 rows: 1,498 new, 0 changed, 2 unchanged, 0 left",
        "attendance_marks: succeeded, 210,000 rows: 0 new, 0 changed, 0 unchanged, 0 left",
        "run_1 succeeded in 1 min 15 s, seq 3 → 1,200",
    ]
    started, _ = fake.requests
    assert list(started.datasets) == ["students", "attendance_marks"]
    assert len(started.request_id) == 36


def test_a_run_that_did_not_succeed_says_why_and_ends_with_1(ask: conftest.Run, fake: FakeServer) -> None:
    failed = run_of(RUN_STATE_PARTIAL, DATASET_STATE_SUCCEEDED, DATASET_STATE_FAILED)
    failed.datasets[0].rejected_rows = 3
    failed.datasets[1].failure.CopyFrom(
        Failure(
            type=FAILURE_TYPE_PERMISSION,
            message="BasicAttendance is not granted",
            audience=AUDIENCE_SCHOOL,
            remediation="grant it",
        )
    )
    serve_a_run(fake, failed)
    outcome = ask("sync", "oak")
    assert outcome.status == 1
    assert outcome.out.splitlines()[-2:] == [
        "  next: grant it (school)",
        "students: 3 rows not taken over; `schoolgate decisions oak` says why",
    ]


def test_what_befell_all_datasets_alike_is_told_once() -> None:
    run = run_of(RUN_STATE_PARTIAL, DATASET_STATE_FAILED, DATASET_STATE_FAILED)
    for dataset in run.datasets:
        dataset.failure.CopyFrom(Failure(type=FAILURE_TYPE_PERMISSION, message="nothing is granted"))
    assert progress.complaints(run) == ["students, attendance_marks: PERMISSION: nothing is granted"]
    run.failure.CopyFrom(run.datasets[0].failure)
    run.datasets[1].ClearField("failure")
    assert progress.complaints(run) == ["students: PERMISSION: nothing is granted"]


def test_detach_writes_the_id_alone(ask: conftest.Run, fake: FakeServer) -> None:
    serve_a_run(fake, run_of(RUN_STATE_QUEUED, DATASET_STATE_PENDING))
    assert ask("sync", "oak", "--detach").out == "run_1\n"


def test_runs_and_run(ask: conftest.Run, fake: FakeServer) -> None:
    run = run_of(RUN_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, 210_000)
    fake.on("SyncService/ListRuns", ListRunsResponse(runs=[run]))
    fake.on("SyncService/GetRun", GetRunResponse(run=run))
    fake.on("SyncService/CancelRun", CancelRunResponse(run=run))
    (row,) = ask("runs", "oak").out.splitlines()[2:]
    assert row.split() == ["run_1", "succeeded", "1,498", "0", "0"]
    shown = ask("run", "oak", "run_1", "--cancel")
    assert "3 → 1,200" in shown.out
    assert "1 min 15 s" in shown.out
    assert [type(request).__name__ for request in fake.requests[-2:]] == ["CancelRunRequest", "GetRunRequest"]
    fake.on("SyncService/ListRuns", ListRunsResponse())
    assert "schoolgate sync oak" in ask("runs", "oak").err


def rendered(run: Run, width: int) -> list[str]:
    printer = Console(file=io.StringIO(), width=width, markup=False, color_system=None)
    with printer.capture() as capture:
        printer.print(progress.board(run, width))
    return capture.get().splitlines()


def test_the_board_fits_80_and_100_columns() -> None:
    run = run_of(RUN_STATE_RUNNING, DATASET_STATE_SUCCEEDED, DATASET_STATE_READING, 100_000)
    run.datasets[1].CopyFrom(
        DatasetRun(
            dataset="attendance_marks",
            state=DATASET_STATE_READING,
            rows_read=570_000,
            rows_expected=1_700_000,
            created=570_000,
            unchanged=1_000_000,
            updated=123_456,
            tombstoned=12_345,
        )
    )
    for width in (80, 100):
        lines = rendered(run, width)
        assert len(lines) == 3  # nothing wraps
        assert max(len(line.rstrip()) for line in lines) <= width
        assert lines[2].split()[-5:] == ["570,000", "570,000", "123,456", "1,000,000", "12,345"]
        # Numbers stand under the end of their heads.
        ends = {
            line.rstrip().rindex(last) + len(last)
            for line, last in zip(lines[:2], ("left", "0"), strict=False)
        }
        assert len(ends) == 1


def test_plain_lines_about_a_long_read_come_now_and_then() -> None:
    now = 0.0
    lines: list[str] = []
    reporter = progress.PlainReporter(lines.append, lambda: now)
    for rows in (0, 10, 20, 30, 40):
        reporter.update(run_of(RUN_STATE_RUNNING, DATASET_STATE_SUCCEEDED, DATASET_STATE_READING, rows))
        now += 1.5
    assert [line for line in lines if line.startswith("attendance")] == [
        "attendance_marks: reading, 20 of 210,000 rows",
        "attendance_marks: reading, 40 of 210,000 rows",
    ]


def test_an_unchanged_run_says_that_it_wrote_nothing() -> None:
    run = run_of(RUN_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED)
    run.seq_after = run.seq_before
    assert progress.summary(run) == "succeeded in 1 min 15 s, nothing written, seq stays 3"


def test_a_held_dataset_names_the_command_that_says_why(ask: conftest.Run, fake: FakeServer) -> None:
    held = run_of(RUN_STATE_PARTIAL, DATASET_STATE_HELD, DATASET_STATE_SUCCEEDED)
    held.datasets[0].held = 1200
    held.datasets[0].failure.CopyFrom(failure(FAILURE_TYPE_HELD, "1200 of 1500 student records left"))
    serve_a_run(fake, held)
    outcome = ask("sync", "oak")
    assert outcome.status == 1
    told = " ".join(outcome.out.split())
    assert "students: 1,200 changes held; `schoolgate holds oak` says why" in told
    assert "SyncService.ListHolds shows it, SyncService.ResolveHold takes the decision. (operator)" in told


def test_layers_and_windows_are_asked_for(ask: conftest.Run, fake: FakeServer) -> None:
    serve_a_run(fake, run_of(RUN_STATE_QUEUED, DATASET_STATE_PENDING))
    for given, layer, days in (
        ((), SYNC_LAYER_FULL, ("", "")),
        (("--layer", "changes"), SYNC_LAYER_CHANGES, ("", "")),
        (("--from", "2026-10-01", "--to", "2026-10-08"), SYNC_LAYER_WINDOW, ("2026-10-01", "2026-10-08")),
        (("--layer", "full", "--from", "2026-10-01"), SYNC_LAYER_FULL, ("2026-10-01", "")),
    ):
        assert ask("sync", "oak", "--detach", *given).status == 0
        request = fake.requests[-1]
        assert (request.layer, (request.date_from, request.date_to)) == (layer, days)
    assert ask("sync", "oak", "--layer", "targeted").status == 2


def test_notify_names_what_changed_and_follows_the_run(ask: conftest.Run, fake: FakeServer) -> None:
    run = run_of(RUN_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED)
    serve_a_run(fake, run)
    fake.on("SyncService/NotifyChange", NotifyChangeResponse(run=run))
    outcome = ask("notify", "oak", "students", "bromcom/student:17", "bromcom/student:'18'")
    assert (outcome.status, outcome.out.splitlines()[-1].split()[0]) == (0, "run_1")
    request = fake.requests[-2]
    assert (request.school_id, request.kind, len(request.request_id)) == ("oak", KIND_STUDENT, 36)
    assert [key.parts[0].integer or key.parts[0].text for key in request.source_keys] == [17, "18"]
    assert ask("notify", "oak", "student", "--detach").out == "run_1\n"
    assert not fake.requests[-1].source_keys
    assert ask("notify", "oak", "student", "no key").status == 2


def test_a_runs_layer_and_what_it_fell_back_to_are_shown(ask: conftest.Run, fake: FakeServer) -> None:
    run = run_of(RUN_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED, DATASET_STATE_SUCCEEDED)
    run.layer = SYNC_LAYER_CHANGES
    for dataset in run.datasets:
        dataset.layer, dataset.fallback = SYNC_LAYER_FULL, "the position expired"
    serve_a_run(fake, run)
    fake.on("SyncService/ListRuns", ListRunsResponse(runs=[run]))
    fake.on("SyncService/GetRun", GetRunResponse(run=run))
    told = "students, attendance_marks: full, since the position expired"
    assert told in ask("sync", "oak").out
    assert told in ask("run", "oak", "run_1").out
    row, below = ask("runs", "oak").out.splitlines()[2:]
    assert (row.split()[:2], below.split()) == (["run_1", "succeeded"], ["changes→full"])
    run.datasets[0].ClearField("layer")
    run.datasets[0].fallback = "the source rows are not kept"
    assert progress.fallbacks(run) == [
        "students: the source rows are not kept",
        "attendance_marks: full, since the position expired",
    ]
    window = Run(run_id="run_2", layer=SYNC_LAYER_WINDOW, date_from="2026-10-01", date_to="2026-10-08")
    fake.on("SyncService/GetRun", GetRunResponse(run=window))
    assert "window 2026-10-01 to 2026-10-08" in ask("run", "oak", "run_2").out
    fake.on("SyncService/GetRun", GetRunResponse(run=Run(layer=SYNC_LAYER_TARGETED, targets=1200)))
    assert "targeted, 1,200 keys" in ask("run", "oak", "run_3").out
