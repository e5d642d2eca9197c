"""write, writes and policy: what is asked of the server, and how its answers look."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_SESSION_LESSON
from schoolgate.v1.failure_pb2 import AUDIENCE_OPERATOR, FAILURE_TYPE_AUTH_INVALID, Failure
from schoolgate.v1.school_service_pb2 import ListSchoolsResponse, School
from schoolgate_server.cli import ledger
from schoolgate_server.model.writes import OPERATIONS
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, Refusal, refusal, violations

WRITE = "wrt_0123456789abcdef0123456789abcdef"
STUDENT = "stu_0123456789abcdef0123456789abcdef"
STAFF = "stf_0123456789abcdef0123456789abcdef"
PENDING, SYNCED = pb.WRITE_STATUS_PENDING_MIS_SYNC, pb.WRITE_STATUS_SYNCED
ATTENTION = pb.WRITE_STATUS_NEEDS_ATTENTION


def write_of(
    state: pb.WriteState.ValueType = pb.WRITE_STATE_PENDING,
    status: pb.WriteStatus.ValueType = PENDING,
    **changes: Any,
) -> pb.Write:
    event = pb.RecordBehaviourEvent(
        student_id=STUDENT,
        type_code="HW",
        occurred_at="2026-09-10T11:20:00+01:00",
        staff_id=STAFF,
        points=-1,
        comment="No homework",
    )
    write = pb.Write(
        write_id=WRITE,
        school_id="oak",
        idempotency_key="auto-1",
        operation=pb.WriteOperation(record_behaviour_event=event),
        operation_name="record_behaviour_event",
        state=state,
        status=status,
        submitted_by="tutor-app",
        environment="production",
        **changes,
    )
    for name, second in (("submitted_at", 1), ("updated_at", 2)):
        getattr(write, name).FromJsonString(f"2026-09-10T10:30:0{second}Z")
    write.expires_at.FromJsonString("2026-09-11T10:30:00Z")
    return write


def confirmed() -> pb.Write:
    attempt = pb.WriteAttempt(
        number=1,
        correlation_id="call-7",
        outcome=pb.WriteAttempt.OUTCOME_ACCEPTED,
        sent=pb.WritePayload(target="POST BehaviourEventRecords", body='{"studentId": 7}'),
        response='{"id": 4711}',
    )
    attempt.started_at.FromJsonString("2026-09-10T10:30:01Z")
    attempt.ended_at.FromJsonString("2026-09-10T10:30:01.400Z")
    return write_of(
        pb.WRITE_STATE_CONFIRMED,
        SYNCED,
        mis_ids=["4711"],
        record_ids=["beh_0123456789abcdef0123456789abcdef"],
        confirmed_seq=12,
        attempts=[attempt],
    )


def undecided() -> pb.Write:
    why = Failure(
        type=FAILURE_TYPE_AUTH_INVALID,
        message="the MIS refused the secret",
        audience=AUDIENCE_OPERATOR,
        remediation="Correct it.",
    )
    return write_of(pb.WRITE_STATE_NEEDS_ATTENTION, ATTENTION, failure=why)


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


# --- write -------------------------------------------------------------------------------------------------


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


# --- writes ------------------------------------------------------------------------------------------------


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


# --- policy ------------------------------------------------------------------------------------------------


def policies(*values: pb.WritePolicy.ValueType) -> list[pb.OperationPolicy]:
    found = [
        pb.OperationPolicy(operation=name, policy=value, set_by="head" if value > 1 else "")
        for name, value in zip(OPERATIONS, values, strict=False)
    ]
    for each in found:
        if each.set_by:
            each.set_at.FromJsonString("2026-09-01T08:00:00Z")
            each.daily_quota = 500
    return found


def test_policies_are_shown_per_operation(ask: Run, fake: FakeServer) -> None:
    shown = policies(pb.WRITE_POLICY_DRY_RUN, pb.WRITE_POLICY_OFF)
    fake.on(
        "WritebackService/GetWritePolicy",
        pb.GetWritePolicyResponse(policies=shown, environment="production"),
    )
    outcome = ask("policy", "get", "oak")
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["record_behaviour_event", "dry-run", "500", "2026-09-01", "08:00:00", "by", "head"] in lines
    assert ["record_attendance_mark", "off", "–"] in lines
    assert "environment is production" in outcome.err


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("behaviour", "record_behaviour_event"),
        ("record-attendance-mark", "record_attendance_mark"),
        ("deactivate_record", "deactivate_record"),
        ("all", ""),
    ],
)
def test_a_policy_is_set(ask: Run, fake: FakeServer, said: str, meant: str) -> None:
    answer = pb.SetWritePolicyResponse(policies=policies(pb.WRITE_POLICY_ON), environment="staging")
    fake.on("WritebackService/SetWritePolicy", answer)
    options = ("--quota", "500", "--environment", "staging", "--comment", "agreed")
    assert ask("policy", "set", "oak", said, "approval", *options).status == 0
    [request] = fake.requests
    assert (request.operation, request.policy) == (meant, pb.WRITE_POLICY_APPROVAL)
    assert (request.daily_quota, request.environment, request.comment) == (500, "staging", "agreed")


def test_an_operation_that_there_is_not_is_a_usage_error(ask: Run, fake: FakeServer) -> None:
    assert ask("policy", "set", "oak", "exclusion", "on").status == 2
    assert ask("policy", "set", "oak", "behaviour", "maybe").status == 2
    assert fake.requests == []


def test_stopping_one_school_shows_what_had_left(ask: Run, fake: FakeServer) -> None:
    answer = pb.SetWritePolicyResponse(queued=3, in_flight=2, cancelled=1200)
    fake.on("WritebackService/SetWritePolicy", answer)
    outcome = ask("policy", "stop", "oak", "--cancel")
    assert outcome.status == 0
    assert ["oak", "3", "2", "1,200"] in [line.split() for line in outcome.out.splitlines()]
    assert "`schoolgate writes watch`" in outcome.err
    [request] = fake.requests
    assert (request.operation, request.policy, request.cancel_queued) == ("", pb.WRITE_POLICY_OFF, True)


def test_g19_a_school_that_cannot_be_stopped_keeps_no_other_from_it(ask: Run, fake: FakeServer) -> None:
    schools = [School(school_id=name) for name in ("ash", "elm", "oak")]
    fake.on("SchoolService/ListSchools", ListSchoolsResponse(schools=schools))
    stopped: list[str] = []

    def stop(request: pb.SetWritePolicyRequest) -> pb.SetWritePolicyResponse:
        if request.school_id == "elm":
            raise refusal(grpc.StatusCode.PERMISSION_DENIED, "SCHOOL_FORBIDDEN", "no")
        stopped.append(request.school_id)
        return pb.SetWritePolicyResponse()

    fake.on("WritebackService/SetWritePolicy", stop)
    outcome = ask("policy", "stop", "--all-schools")
    assert (outcome.status, stopped) == (1, ["ash", "oak"])
    assert "not stopped: elm" in outcome.err


@pytest.mark.parametrize("arguments", [(), ("oak", "--all-schools")])
def test_what_is_to_be_stopped_must_be_said(ask: Run, fake: FakeServer, arguments: tuple[str, ...]) -> None:
    assert ask("policy", "stop", *arguments).status == 2
    assert fake.requests == []
