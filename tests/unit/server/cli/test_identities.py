from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from schoolgate.v1.identity_service_pb2 import (
    IdentityProposal,
    ListIdentityProposalsResponse,
    MergeRecordsResponse,
    ResolveIdentityProposalRequest,
    ResolveIdentityProposalResponse,
)
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate.v1.query_service_pb2 import GetRecordResponse
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.sync_service_pb2 import Run
from tests.unit.server.cli.conftest import Run as Ask
from tests.unit.server.cli.fake import FakeServer, refusal

OLD, NEW = "stu_" + "1" * 32, "stu_" + "2" * 32
PROPOSAL = "idp_0123456789abcdef0123456789abcdef"
ACCEPT, REJECT = (
    ResolveIdentityProposalRequest.RESOLUTION_ACCEPT,
    ResolveIdentityProposalRequest.RESOLUTION_REJECT,
)


def proposal(number: int = 0) -> IdentityProposal:
    made = IdentityProposal(
        proposal_id=PROPOSAL[:-1] + str(number),
        school_id="oak",
        kind=KIND_STUDENT,
        survivor_id=OLD,
        merged_id=NEW,
        evidence="both have the same UPN",
        run_id="run_7",
    )
    made.created_at.FromJsonString("2026-09-01T06:00:00Z")
    return made


def test_a_merge_names_the_run_that_does_it(ask: Ask, fake: FakeServer) -> None:
    fake.on("IdentityService/MergeRecords", MergeRecordsResponse(run=Run(run_id="run_9")))
    outcome = ask("merge", "oak", NEW, "--into", OLD, "--comment", "typed in twice")
    assert (outcome.status, outcome.out) == (0, "run_9\n")
    assert outcome.err == "next: schoolgate run oak run_9 --watch\n"
    (request,) = fake.requests
    assert (request.school_id, request.merged_id, request.survivor_id) == ("oak", NEW, OLD)
    assert (request.comment, len(request.request_id)) == ("typed in twice", 36)


def test_a_merge_without_a_survivor_is_a_usage_error(ask: Ask, fake: FakeServer) -> None:
    assert ask("merge", "oak", NEW).status == 2
    assert fake.requests == []


@pytest.mark.parametrize("columns", ["80", "240"])
def test_a_proposal_is_shown_with_its_ids_on_one_line(
    ask: Ask, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fake.on("IdentityService/ListIdentityProposals", ListIdentityProposalsResponse(proposals=[proposal()]))
    outcome = ask("proposals", "oak")
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["proposal", proposal().proposal_id],
        ["kind", "student"],
        ["stays", OLD],
        ["goes", NEW],
        ["because", *proposal().evidence.split()],
        ["since", "2026-09-01", "06:00:00"],
        ["run", "run_7"],
    ]
    assert "schoolgate resolve-proposal oak" in outcome.err


def test_all_pages_are_listed_and_json_has_one_object_per_line(ask: Ask, fake: FakeServer) -> None:
    def pages(request: Any) -> ListIdentityProposalsResponse:
        if not request.page_token:
            return ListIdentityProposalsResponse(proposals=[proposal(1)], next_page_token="more")
        assert request.page_token == "more"
        return ListIdentityProposalsResponse(proposals=[proposal(2)])

    fake.on("IdentityService/ListIdentityProposals", pages)
    first, second = map(json.loads, ask("proposals", "oak", "--json").out.splitlines())
    assert (first["survivor_id"], first["merged_id"]) == (OLD, NEW)
    assert second["proposal_id"] == proposal(2).proposal_id
    assert ask("proposals", "oak").out.count("stays") == 2


def test_nothing_proposed(ask: Ask, fake: FakeServer) -> None:
    fake.on("IdentityService/ListIdentityProposals", ListIdentityProposalsResponse())
    outcome = ask("proposals", "oak")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "nothing is proposed\n")


@pytest.mark.parametrize(
    ("option", "resolution", "told"), [("--accept", ACCEPT, "accepted"), ("--reject", REJECT, "rejected")]
)
def test_resolving(ask: Ask, fake: FakeServer, option: str, resolution: int, told: str) -> None:
    answer = ResolveIdentityProposalResponse(proposal=proposal())
    if resolution == ACCEPT:
        answer.run.run_id = "run_9"
    fake.on("IdentityService/ResolveIdentityProposal", answer)
    outcome = ask("resolve-proposal", "oak", PROPOSAL, option)
    assert (outcome.status, outcome.out) == (0, f"{proposal().proposal_id} {told}\n")
    assert ("run_9" in outcome.err) == (resolution == ACCEPT)
    (request,) = fake.requests
    assert (request.proposal_id, request.resolution) == (PROPOSAL, resolution)


@pytest.mark.parametrize("options", [(), ("--accept", "--reject")])
def test_a_decision_that_is_not_clear_is_a_usage_error(
    ask: Ask, fake: FakeServer, options: tuple[str, ...]
) -> None:
    assert ask("resolve-proposal", "oak", PROPOSAL, *options).status == 2
    assert fake.requests == []


def test_what_cannot_be_merged_is_refused_with_the_next_step(ask: Ask, fake: FakeServer) -> None:
    def refuse(_: object) -> MergeRecordsResponse:
        raise refusal(grpc.StatusCode.FAILED_PRECONDITION, "RECORDS_NOT_MERGEABLE", "merged already")

    fake.on("IdentityService/MergeRecords", refuse)
    outcome = ask("merge", "oak", NEW, "--into", OLD)
    assert outcome.status == 1
    assert "merged already" in outcome.err


def test_a_merged_record_is_shown_as_the_one_that_it_lives_on_in(ask: Ask, fake: FakeServer) -> None:
    record = Record(id=OLD, kind=KIND_STUDENT, school_id="oak", version=2)
    record.student.surname = "Adeyemi"
    fake.on("QueryService/GetRecord", GetRecordResponse(record=record, redirected_from=NEW))
    outcome = ask("get", "oak", NEW)
    assert OLD in outcome.out
    assert f"{NEW} was merged into this record" in outcome.err
    fake.on("QueryService/GetRecord", GetRecordResponse(record=record))
    assert ask("get", "oak", NEW, "--merged").err == ""
    assert [request.without_redirect for request in fake.requests] == [False, True]
