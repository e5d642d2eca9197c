from __future__ import annotations

import json

import grpc

from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.diagnostics_service_pb2 import CompareParsersResponse, FieldDifference
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate.v1.query_service_pb2 import GetRecordResponse, ListVersionsResponse, Version
from schoolgate.v1.record_pb2 import CHANGE_CAUSE_REPROJECTION, CHANGE_CAUSE_SOURCE, Record
from schoolgate.v1.school_service_pb2 import (
    GetSchoolResponse,
    School,
    UpdateSchoolRequest,
    UpdateSchoolResponse,
)
from schoolgate.v1.sync_service_pb2 import (
    DATASET_STATE_SUCCEEDED,
    RUN_STATE_SUCCEEDED,
    DatasetRun,
    GetRunResponse,
    ListRunsResponse,
    Run,
)
from tests.unit.server.cli.conftest import Run as RunCommand
from tests.unit.server.cli.fake import FakeServer, refusal

MARK = "mrk_" + "1" * 32
_Values = FieldDifference.Values

ANSWER = CompareParsersResponse(
    from_version=1,
    to_version=2,
    run_id="run_7",
    rows=210_000,
    same=209_000,
    differing=700,
    only_after=300,
    rejected_only_before=300,
    differences=[
        FieldDifference(
            kind=KIND_ATTENDANCE_MARK,
            field="code",
            count=700,
            values=[
                _Values(before="MD", after="M", count=500, record_ids=[MARK]),
                _Values(before="I,\x1b[31m", after="", count=150),
            ],
        ),
        FieldDifference(
            kind=KIND_ATTENDANCE_MARK,
            field="meaning",
            count=500,
            values=[_Values(after="ATTENDANCE_MEANING_AUTHORISED_ABSENCE", count=500)],
        ),
        FieldDifference(
            kind=KIND_ATTENDANCE_MARK, field="source_keys", count=1, values=[_Values(before="a", count=1)]
        ),
    ],
)


def test_differences_stand_under_each_other(ask: RunCommand, fake: FakeServer) -> None:
    fake.on("DiagnosticsService/CompareParsers", ANSWER)
    outcome = ask("compare-parsers", "oak", "attendance_marks", "--to", "2", "--examples", "3")
    assert outcome.status == 0
    [request] = fake.requests
    assert (request.dataset, request.from_version, request.to_version, request.examples) == (
        "attendance_marks",
        0,
        2,
        3,
    )
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["versions", "1", "→", "2"] in lines
    assert "records   209,000 alike, 700 different" in outcome.out
    assert "yielded   300 by version 2 alone" in outcome.out
    assert "rejected  300 by version 1 alone" in outcome.out
    assert ["attendance_mark.code", "500", "MD", "M", MARK] in lines
    assert ["150", "I,�[31m", "–"] in lines  # nothing of the data steers the terminal
    assert ["50", "others"] in lines
    assert ["attendance_mark.meaning", "500", "–", "authorised"] in lines
    assert "schoolgate promote-parser oak attendance_marks --to 2" in outcome.err


def test_without_differences_nothing_is_to_be_done(ask: RunCommand, fake: FakeServer) -> None:
    fake.on("DiagnosticsService/CompareParsers", CompareParsersResponse(from_version=1, to_version=2, same=4))
    outcome = ask("compare-parsers", "oak", "attendance_marks", "--to", "2")
    assert "nothing would change with version 2" in outcome.err


def test_the_answer_as_json(ask: RunCommand, fake: FakeServer) -> None:
    fake.on("DiagnosticsService/CompareParsers", ANSWER)
    outcome = ask("compare-parsers", "oak", "attendance_marks", "--to", "2", "--json")
    assert json.loads(outcome.out)["differences"][0]["values"][0]["before"] == "MD"


def test_a_version_that_there_is_not_says_which_there_are(ask: RunCommand, fake: FakeServer) -> None:
    def refuse(request: object) -> CompareParsersResponse:
        raise refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "PARSER_VERSION_UNKNOWN", "no version 9", available="1, 2"
        )

    fake.on("DiagnosticsService/CompareParsers", refuse)
    outcome = ask("compare-parsers", "oak", "attendance_marks", "--to", "9")
    assert outcome.status == 1
    assert "take one of 1, 2" in outcome.err


def test_a_promotion_leaves_other_datasets_at_their_versions(ask: RunCommand, fake: FakeServer) -> None:
    school = School(school_id="oak", etag="7", parser_versions={"students": 3, "attendance_marks": 1})
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=school))

    def update(request: UpdateSchoolRequest) -> UpdateSchoolResponse:
        return UpdateSchoolResponse(school=request.school)

    fake.on("SchoolService/UpdateSchool", update)
    outcome = ask("promote-parser", "oak", "attendance_marks", "--to", "2")
    assert outcome.out == "parser versions: attendance_marks 2, students 3\n"
    request = fake.requests[-1]
    assert (list(request.update_mask.paths), request.school.etag) == (["parser_versions"], "7")
    outcome = ask("promote-parser", "oak", "students", "--to", "0")
    assert outcome.out == "parser versions: attendance_marks 1\n"


def test_the_cause_of_versions_is_shown(ask: RunCommand, fake: FakeServer) -> None:
    def version(number: int, code: str, cause: int) -> Record:
        return Record(
            id=MARK,
            kind=KIND_ATTENDANCE_MARK,
            version=number,
            seq=number,
            cause=cause,  # type: ignore[arg-type]
            attendance_mark=AttendanceMark(code=code),
        )

    old, new = version(1, "MD", CHANGE_CAUSE_SOURCE), version(2, "M", CHANGE_CAUSE_REPROJECTION)
    listed = [Version(record=new), Version(record=old)]
    fake.on("QueryService/ListVersions", ListVersionsResponse(versions=listed))
    outcome = ask("versions", "oak", MARK)
    assert [line.split()[-1] for line in outcome.out.splitlines()] == ["reprojection", "source"]
    fake.on("QueryService/GetRecord", GetRecordResponse(record=new))
    assert "reprojection" in ask("get", "oak", MARK).out


def test_runs_show_what_was_reprojected_where_anything_was(ask: RunCommand, fake: FakeServer) -> None:
    part = DatasetRun(dataset="attendance_marks", state=DATASET_STATE_SUCCEEDED, rows_read=9, unchanged=9)
    run = Run(run_id="run_1", state=RUN_STATE_SUCCEEDED, datasets=[part])
    fake.on("SyncService/GetRun", GetRunResponse(run=run))
    fake.on("SyncService/ListRuns", ListRunsResponse(runs=[run]))
    for command in (("run", "oak", "run_1"), ("runs", "oak")):
        assert "reprojected" not in ask(*command).out
    run.datasets[0].reprojected = 1_234
    run.datasets[0].fallback = "the source rows are not kept any more"
    fake.on("SyncService/GetRun", GetRunResponse(run=run))
    fake.on("SyncService/ListRuns", ListRunsResponse(runs=[run]))
    for command in (("run", "oak", "run_1"), ("runs", "oak")):
        shown = ask(*command).out
        assert "reprojected" in shown
        assert "1,234" in shown
    assert "not kept any more" in ask("run", "oak", "run_1").out
