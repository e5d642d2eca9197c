"""writes: what is asked for, how writes look in a list and alone, and what people decide about them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer
from tests.unit.server.cli.made_writes import ATTENTION, STUDENT, WRITE, confirmed, undecided, write_of


def test_a_list_asks_for_what_its_options_say(ask: Run, fake: FakeServer) -> None:
    fake.on("WritebackService/ListWrites", pb.ListWritesResponse())
    outcome = ask(
        *("writes", "list", "oak", "--mis-id", "4711", "--record", "beh_1", "--student", STUDENT),
        *("--state", "needs-attention", "--state", "SENT", "--key", "k-1", "--limit", "5"),
    )
    assert (outcome.status, outcome.err) == (0, "no such writes\n")
    assert fake.requests == [
        pb.ListWritesRequest(
            school_id="oak",
            states=[pb.WRITE_STATE_SENT, pb.WRITE_STATE_NEEDS_ATTENTION],
            page_size=6,
            mis_id="4711",
            record_id="beh_1",
            student_id=STUDENT,
            idempotency_key="k-1",
        )
    ]
    assert ask("writes", "list", "oak", "--state", "lost").status == 2


@pytest.mark.parametrize(
    ("columns", "heads"),
    [
        ("80", ["write", "state", "what", "submitted"]),
        ("120", ["write", "state", "what", "submitted", "MIS", "ids", "by"]),
    ],
)
def test_a_list_shows_whole_ids_and_the_columns_that_fit(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, columns: str, heads: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fake.on("WritebackService/ListWrites", pb.ListWritesResponse(writes=[undecided(), confirmed()]))
    outcome = ask("writes", "list", "oak")
    head, _, first, second = outcome.out.splitlines()
    assert head.split() == heads
    assert first.split()[:6] == [WRITE, "needs", "attention", "behaviour", "09-10", "10:30"]
    assert second.split()[:5] == [WRITE, "confirmed", "behaviour", "09-10", "10:30"]
    assert max(map(len, outcome.out.splitlines())) <= int(columns)
    assert "do not fit" in outcome.err


def test_a_list_goes_through_the_pages(ask: Run, fake: FakeServer) -> None:
    def answer(request: pb.ListWritesRequest) -> pb.ListWritesResponse:
        return pb.ListWritesResponse(writes=[confirmed()] * 2, next_page_token=f"{request.page_token}x")

    fake.on("WritebackService/ListWrites", answer)
    outcome = ask("writes", "list", "oak", "--limit", "5", "--json")
    assert len(outcome.out.splitlines()) == 5
    assert [request.page_token for request in fake.requests] == ["", "x", "xx"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_one_write_is_shown_with_what_was_sent_and_answered(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fake.on("WritebackService/GetWrite", pb.GetWriteResponse(write=confirmed()))
    outcome = ask("writes", "get", "oak", WRITE)
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    for told in (
        "stands synced (confirmed)",
        "comment No homework",
        "points -1",
        "MIS ids 4711",
        "submitted 2026-09-10 10:30:01 by tutor-app",
        "attempt 1 2026-09-10 10:30:01 accepted in 0.4 s",
        "sent POST BehaviourEventRecords",
        '{"studentId": 7}',
        'answered {"id": 4711}',
        "correlation call-7",
    ):
        assert told in lines, outcome.out
    assert max(map(len, outcome.out.splitlines())) <= int(columns)


def test_what_only_a_newer_server_knows_is_shown_as_its_number(ask: Run, fake: FakeServer) -> None:
    """Seen to fail, by a ValueError, where the outcome of an attempt was taken to be a known one."""
    unknown: Any = 99
    write = confirmed()
    write.attempts[0].outcome = write.state = unknown
    fake.on("WritebackService/GetWrite", pb.GetWriteResponse(write=write))
    outcome = ask("writes", "get", "oak", WRITE)
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert "stands synced (99)" in lines
    assert "attempt 1 2026-09-10 10:30:01 99 in 0.4 s" in lines


def test_what_went_wrong_is_told_with_what_to_do(ask: Run, fake: FakeServer) -> None:
    fake.on("WritebackService/GetWrite", pb.GetWriteResponse(write=undecided()))
    lines = [" ".join(line.split()) for line in ask("writes", "get", "oak", WRITE).out.splitlines()]
    assert "because AUTH_INVALID: the MIS refused the secret" in lines
    assert "next Correct it. (operator)" in lines


def test_watching_writes_a_line_per_change(ask: Run, fake: FakeServer) -> None:
    stream: list[Message] = [
        pb.WatchWritesResponse(write=write_of()),
        pb.WatchWritesResponse(caught_up=True),
        pb.WatchWritesResponse(write=confirmed()),
    ]
    fake.on("WritebackService/WatchWrites", stream)
    assert ask("writes", "watch", "oak").out.splitlines() == [
        f"10:30:02  {WRITE}  behaviour  pending MIS sync (pending)",
        f"10:30:02  {WRITE}  behaviour  synced (confirmed)  4711",
    ]
    assert len(ask("writes", "watch", "oak", "--once").out.splitlines()) == 1
    assert len(ask("writes", "watch", "oak", "--json").out.splitlines()) == 3


def test_approving_and_cancelling(ask: Run, fake: FakeServer) -> None:
    fake.on("WritebackService/ApproveWrite", pb.ApproveWriteResponse(write=write_of()))
    cancelled = write_of(pb.WRITE_STATE_CANCELLED, pb.WRITE_STATUS_WITHDRAWN)
    fake.on("WritebackService/CancelWrite", pb.CancelWriteResponse(write=cancelled))
    outcome = ask("writes", "approve", "oak", WRITE, "--comment", "looks right")
    assert (outcome.status, outcome.out) == (0, f"{WRITE} approved: pending MIS sync (pending)\n")
    assert ask("writes", "cancel", "oak", WRITE).out == f"{WRITE} cancelled\n"
    approved, withdrawn = fake.requests
    assert (approved.write_id, approved.comment, withdrawn.write_id) == (WRITE, "looks right", WRITE)
    assert len({approved.request_id, withdrawn.request_id}) == 2


def test_a_reversal_by_a_task_names_it_and_the_next_step(ask: Run, fake: FakeServer) -> None:
    task = write_of(
        pb.WRITE_STATE_NEEDS_ATTENTION, ATTENTION, task="Delete behaviour event 4711.", reverses="wrt_2"
    )
    fake.on("WritebackService/ReverseWrite", pb.ReverseWriteResponse(write=task))
    outcome = ask("writes", "reverse", "oak", WRITE, "--comment", "wrong pupil", "--wait")
    assert outcome.status == 0
    assert "Delete behaviour event 4711." in outcome.out
    assert f"schoolgate writes resolve oak {WRITE} --took-effect" in " ".join(outcome.err.split())


@pytest.mark.parametrize(
    ("option", "outcome"),
    [
        ("--took-effect", pb.ResolveWriteRequest.OUTCOME_TOOK_EFFECT),
        ("--send-again", pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_SEND_AGAIN),
        ("--give-up", pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_GIVE_UP),
    ],
)
def test_settling(ask: Run, fake: FakeServer, option: str, outcome: int) -> None:
    fake.on("WritebackService/ResolveWrite", pb.ResolveWriteResponse(write=confirmed()))
    said = ask("writes", "resolve", "oak", WRITE, option, "--mis-id", "4711", "--comment", "seen")
    assert (said.status, said.out) == (0, f"{WRITE} settled: synced (confirmed)\n")
    [request] = fake.requests
    assert (request.outcome, list(request.mis_ids), request.comment) == (outcome, ["4711"], "seen")


@pytest.mark.parametrize("options", [(), ("--took-effect", "--give-up")])
def test_a_settlement_that_is_not_clear_is_a_usage_error(
    ask: Run, fake: FakeServer, options: tuple[str, ...]
) -> None:
    assert ask("writes", "resolve", "oak", WRITE, *options).status == 2
    assert fake.requests == []
