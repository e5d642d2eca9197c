"""write: what is submitted, what the answers look like, and following a write to its end."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_SESSION_LESSON
from schoolgate_server.cli import ledger
from schoolgate_server.model.writes import OPERATIONS
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, Refusal, refusal, violations
from tests.unit.server.cli.made_writes import STAFF, STUDENT, WRITE, confirmed, undecided, write_of

EVENT = (
    *("write", "behaviour", "oak", STUDENT, "--type", "HW", "--at", "2026-09-10T11:20:00+01:00"),
    *("--staff", STAFF, "--points", "-1"),
)


def answering(fake: FakeServer, *answers: pb.Write) -> None:
    """Have a submission answered with the first, and each look at the write with the next one."""
    fake.on(
        "WritebackService/SubmitWrite", pb.SubmitWriteResponse(write=answers[0], policy=pb.WRITE_POLICY_ON)
    )
    following = iter(answers[1:])
    fake.on("WritebackService/GetWrite", lambda _: pb.GetWriteResponse(write=next(following)))


def test_the_commands_have_a_word_for_every_operation() -> None:
    assert set(ledger.OPERATIONS.values()) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("arguments", "operation"),
    [
        (
            (*EVENT, "--comment", "No homework"),
            {
                "record_behaviour_event": {"student_id": STUDENT, "type_code": "HW", "staff_id": STAFF}
                | {"occurred_at": "2026-09-10T10:20:00+00:00", "points": -1, "comment": "No homework"}
            },
        ),
        (
            (
                *("write", "mark", "oak", STUDENT, "--date", "2026-09-10", "--session", "lesson"),
                *("--period", "Mon:1", "--code", "L", "--minutes-late", "7", "--staff", STAFF),
            ),
            {
                "record_attendance_mark": {"student_id": STUDENT, "date": "2026-09-10", "code": "L"}
                | {"session": ATTENDANCE_SESSION_LESSON, "period_name": "Mon:1", "minutes_late": 7}
                | {"staff_id": STAFF}
            },
        ),
        (
            (
                *("write", "result", "oak", STUDENT, "--assessment", "Autumn", "--result", "7"),
                *("--date", "2026-09-10", "--subject", "sub_1"),
            ),
            {
                "record_assessment_result": {
                    "student_id": STUDENT,
                    "assessment_name": "Autumn",
                    "result": "7",
                }
                | {"date": "2026-09-10", "subject_id": "sub_1"}
            },
        ),
        (
            (
                *("write", "consent", "oak", STUDENT, "--type", "PHOTO", "--not-granted"),
                *("--date", "2026-09-10"),
            ),
            {"record_consent": {"student_id": STUDENT, "type_code": "PHOTO", "date": "2026-09-10"}},
        ),
        (
            (
                *("write", "note", "oak", STUDENT, "--type", "READ", "--date", "2026-09-10"),
                *("--note", "-", "--staff", STAFF),
            ),
            {
                "record_intervention_note": {"student_id": STUDENT, "type_code": "READ", "staff_id": STAFF}
                | {"date": "2026-09-10", "note": "from standard input"}
            },
        ),
        (
            ("write", "deactivate", "oak", "beh_1", "--reason", "entered twice"),
            {"deactivate_record": {"record_id": "beh_1", "reason": "entered twice"}},
        ),
        (
            ("write", "correct", "oak", "beh_1", "--points", "0"),
            {"correct_record": {"record_id": "beh_1", "points": 0}},
        ),
    ],
    ids=list(ledger.OPERATIONS),
)
def test_each_operation_is_submitted(
    ask: Run,
    fake: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    operation: dict[str, Any],
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from standard input\n"))
    answering(fake, write_of())
    outcome = ask(*arguments, "--key", "k-1", "--source", "s-1")
    assert (outcome.status, f"next: schoolgate writes get oak {WRITE}" in outcome.err) == (0, True)
    assert fake.requests == [
        pb.SubmitWriteRequest(
            school_id="oak",
            operation=pb.WriteOperation(**operation),
            idempotency_key="k-1",
            source_record_id="s-1",
        )
    ]


@pytest.mark.parametrize("at", ["tomorrow", "2026-09-10", "2026-13-10T10:00"])
def test_what_is_no_moment_is_not_sent(ask: Run, fake: FakeServer, at: str) -> None:
    arguments = [at if word.startswith("2026-") else word for word in EVENT]
    assert ask(*arguments).status == 2
    assert fake.requests == []


def test_a_dry_run_shows_exactly_what_would_be_sent(ask: Run, fake: FakeServer) -> None:
    preview = pb.WritePayload(target="POST BehaviourEventRecords", body='{"studentId": 7}')
    answer = pb.SubmitWriteResponse(preview=preview, policy=pb.WRITE_POLICY_DRY_RUN, idempotency_key="auto-1")
    fake.on("WritebackService/SubmitWrite", answer)
    outcome = ask(*EVENT, "--wait")
    assert outcome.status == 0
    assert [" ".join(line.split()) for line in outcome.out.splitlines()] == [
        "policy dry run",
        "key auto-1",
        "would send POST BehaviourEventRecords",
        '{"studentId": 7}',
    ]
    assert "nothing was stored or sent" in outcome.err


def test_validation_alone_says_that_nothing_is_wrong(ask: Run, fake: FakeServer) -> None:
    answer = pb.SubmitWriteResponse(policy=pb.WRITE_POLICY_OFF, idempotency_key="auto-1")
    fake.on("WritebackService/SubmitWrite", answer)
    outcome = ask(*EVENT, "--validate-only")
    assert (outcome.status, "nothing is wrong with it" in outcome.err) == (0, True)
    assert fake.requests[0].validate_only


def test_every_violation_is_shown(ask: Run, fake: FakeServer) -> None:
    def refuse(_: object) -> pb.SubmitWriteResponse:
        known = refusal(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID", "wrong")
        wrong = violations(**{"operation.type_code": "must be a code", "operation.points": "must be less"})
        raise Refusal(known.code, known.message, *known.details, wrong)

    fake.on("WritebackService/SubmitWrite", refuse)
    outcome = ask(*EVENT)
    assert outcome.status == 1
    assert "operation.type_code: must be a code" in outcome.err
    assert "operation.points: must be less" in outcome.err


def test_a_key_that_came_before_is_told(ask: Run, fake: FakeServer) -> None:
    answer = pb.SubmitWriteResponse(write=confirmed(), repeated=True, policy=pb.WRITE_POLICY_ON)
    fake.on("WritebackService/SubmitWrite", answer)
    assert "this key came before" in ask(*EVENT).err


def test_waiting_tells_each_state_once_and_ends_synced(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_LOOK", 0.01)
    sent = write_of(pb.WRITE_STATE_SENT)
    answering(fake, write_of(), write_of(), sent, sent, confirmed())
    outcome = ask(*EVENT, "--wait")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    told = [line for line in lines if line.startswith("pending MIS sync")]
    assert told == ["pending MIS sync (pending)", "pending MIS sync (sent)"]
    assert any(line.split() == ["stands", "synced", "(confirmed)"] for line in lines)


@pytest.mark.parametrize("last", [undecided(), write_of(pb.WRITE_STATE_CANCELLED, pb.WRITE_STATUS_WITHDRAWN)])
def test_waiting_for_what_is_not_synced_in_the_end_fails(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, last: pb.Write
) -> None:
    monkeypatch.setattr(ledger, "_LOOK", 0.01)
    answering(fake, write_of(), last)
    assert ask(*EVENT, "--wait").status == 1


def test_what_awaits_approval_says_how_it_is_approved(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_LOOK", 0.01)
    answering(fake, write_of(needs_approval=True), confirmed())
    outcome = ask(*EVENT, "--wait")
    assert f"pending MIS sync (awaits approval): schoolgate writes approve oak {WRITE}" in outcome.out
    assert "by somebody else" in ask(*EVENT).err


def test_an_answer_as_json_is_one_line(ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_LOOK", 0.01)
    answering(fake, write_of(), confirmed())
    assert json.loads(ask(*EVENT, "--json").out)["write"]["write_id"] == WRITE
    assert json.loads(ask(*EVENT, "--json", "--wait").out)["state"] == "WRITE_STATE_CONFIRMED"
