"""Writing to a MIS, from a policy to what the MIS's own data says afterwards, as callers see it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.rpc.callers import hash_token
from tests.e2e.conftest import Service, service
from tests.support.asking import Asking, Refused
from tests.support.live import Live, key_parts, live
from tests.support.simulator import Simulator, start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

CALLERS = {
    "tutor-app": ("WRITER", "oak"),
    "head-of-year": ("APPROVER", "oak"),
    "both": ('WRITER", "APPROVER', "oak"),
    "office": ("OPERATOR", "oak"),
    "elsewhere": ('WRITER", "OPERATOR', "elm"),
    "admin": ("ADMIN", "*"),
}
"""Roles and school of each caller; the name is the token."""

SAID = "Featherstonehaugh threw Zebedina's shoe"
EVERYTHING = [f"{info.name}.*" for info in KINDS.values()]


@dataclass
class Office(Asking):
    """A school whose MIS is written to."""

    running: Service
    simulator: Simulator
    oak: Live
    pupil: str
    teacher: str

    def event(self, at: str, **changes: Any) -> dict[str, Any]:
        """Return an operation; one per time, so that no test finds what another one wrote."""
        event = {
            "student_id": self.pupil,
            "type_code": "4",
            "occurred_at": f"2026-09-10T{at}:00+01:00",
            "staff_id": self.teacher,
            "points": -1,
            "comment": SAID,
        }
        return {"record_behaviour_event": event | changes}

    def submit(self, at: str, who: str = "tutor-app", **request: Any) -> dict[str, Any]:
        return self.ask(who, "SubmitWrite", operation=self.event(at), **request)

    def in_the_mis(self, at: str) -> list[str]:
        """Return the records of the events at a time, as a sync reads them anew."""
        self.oak.sync("oak", "behaviour_events")
        events = self.oak.records("oak", kinds.KIND_BEHAVIOUR_EVENT)
        return [record.id for record in events if f"T{at}" in record.behaviour_event.occurred_at]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, grpcurl_path: str) -> Generator[Office]:
    folder = tmp_path_factory.mktemp("writeback")
    callers = folder / "callers.toml"
    callers.write_text(
        "\n".join(
            f'[[callers]]\nname = "{name}"\ntoken_sha256 = "{hash_token(name)}"\n'
            f'roles = ["{roles}"]\nschools = ["{school}"]'
            for name, (roles, school) in CALLERS.items()
        )
    )
    settings = {"SCHOOLGATE_LOG__LEVEL": "DEBUG", "SCHOOLGATE_AUTH__CALLERS_FILE": str(callers)}
    with (
        start_simulator("--pupils", "40", "--marks-until", "2026-09-11") as simulator,
        service(folder, settings) as running,
        live(running.target, folder / "data", token="admin") as oak,
    ):
        oak.register("oak", simulator, data_profile=EVERYTHING)
        oak.register("elm", simulator, data_profile=EVERYTHING)
        oak.sync("oak")
        pupil, *_ = [record.id for record in oak.records("oak", kinds.KIND_STUDENT)]
        teacher, *_ = [record.id for record in oak.records("oak", kinds.KIND_STAFF)]
        yield Office(running.target, grpcurl_path, running, simulator, oak, pupil, teacher)


def test_nothing_is_sent_unless_a_policy_says_so(office: Office) -> None:
    office.policy("OFF")
    with pytest.raises(Refused) as off:
        office.submit("08:00")
    assert off.value.reason == "WRITE_POLICY_OFF"
    assert off.value.metadata == {"operation": "record_behaviour_event", "environment": "production"}
    assert office.ask("tutor-app", "GetWritePolicy")["environment"] == "production"
    assert office.in_the_mis("08:00") == []


def test_every_violation_is_told_at_once(office: Office) -> None:
    office.policy("ON")
    operation = office.event(
        "08:05", type_code="99", staff_id=office.pupil, occurred_at="2099-01-01T10:00:00Z"
    )
    with pytest.raises(Refused) as wrong:
        office.ask("tutor-app", "SubmitWrite", operation=operation)
    assert wrong.value.reason == "REQUEST_INVALID"
    names = ("type_code", "staff_id", "occurred_at")
    assert wrong.value.fields == {f"operation.record_behaviour_event.{name}" for name in names}
    mark = {"student_id": office.pupil, "date": "2026-09-10", "session": 1, "code": "/"}
    with pytest.raises(Refused) as unsupported:
        office.ask("tutor-app", "SubmitWrite", operation={"record_attendance_mark": mark})
    assert unsupported.value.reason == "WRITE_UNSUPPORTED"


def test_a_dry_run_shows_what_is_sent_and_the_mis_says_that_it_has_it(office: Office) -> None:
    office.policy("DRY_RUN")
    dry = office.submit("09:00")
    assert "write" not in dry
    assert office.in_the_mis("09:00") == []
    office.policy("ON")
    valid = office.submit("09:00", validate_only=True)
    assert valid == {"policy": "WRITE_POLICY_ON", "idempotency_key": dry["idempotency_key"]}
    write = office.submit("09:00")["write"]
    assert write["idempotency_key"] == dry["idempotency_key"]
    done = office.until(write, "CONFIRMED")
    [attempt] = done["attempts"]
    assert attempt["sent"] == dry["preview"], "to the letter"
    assert attempt["outcome"] == "OUTCOME_ACCEPTED"
    assert (done["submitted_by"], done["status"]) == ("tutor-app", "WRITE_STATUS_SYNCED")

    # From the MIS's id, or the record's, to who wrote it, and back.
    [mis_id], [record_id] = done["mis_ids"], done["record_ids"]
    for condition in ({"mis_id": mis_id}, {"record_id": record_id}):
        [found] = office.ask("office", "ListWrites", **condition)["writes"]
        assert found == done
    record = next(r for r in office.oak.records("oak", kinds.KIND_BEHAVIOUR_EVENT) if r.id == record_id)
    assert record.behaviour_event.comment == SAID
    assert mis_id in {str(part) for key in record.source_keys for part in key_parts(record, key.namespace)}

    repeated = office.submit("09:00")
    assert (repeated["repeated"], repeated["write"]) == (True, done)
    assert len(office.in_the_mis("09:00")) == 1


def test_an_approver_is_somebody_else(office: Office) -> None:
    office.policy("APPROVAL")
    write = office.submit("09:10", who="both")["write"]
    assert write["needs_approval"]
    decision = {"write_id": write["write_id"], "request_id": str(uuid.uuid4()), "comment": "seen"}
    for who, reason in (
        ("both", "APPROVER_IS_SUBMITTER"),
        ("tutor-app", "ROLE_MISSING"),
        ("admin", "ROLE_MISSING"),
    ):
        with pytest.raises(Refused) as refused:
            office.ask(who, "ApproveWrite", **decision)
        assert refused.value.reason == reason
    assert office.get(write)["state"] == "WRITE_STATE_PENDING"
    approved = office.ask("head-of-year", "ApproveWrite", **decision)
    assert office.ask("head-of-year", "ApproveWrite", **decision) == approved
    done = office.until(write, "CONFIRMED")
    assert (done["submitted_by"], done["approved_by"]) == ("both", "head-of-year")


def test_g19_the_kill_switch_stops_what_is_queued(office: Office) -> None:
    """What is queued behind a write that has left stays, though its turn comes; what has left is told."""
    office.policy("ON")
    office.simulator.faults({"kind": "status", "status": 503, "times": None})
    try:  # nothing can be read, so that the first one cannot be confirmed
        left = office.until(office.submit("09:20")["write"], "SENT")
        another = office.event("09:20", points=-2)
        queued = office.ask("tutor-app", "SubmitWrite", operation=another)["write"]
        stopped = office.policy("OFF")
        assert (stopped["queued"], stopped["in_flight"]) == ("1", "1")
    finally:
        office.simulator.clear_faults()
    office.until(left, "CONFIRMED")
    time.sleep(3)
    assert office.get(queued)["state"] == "WRITE_STATE_PENDING"
    assert len(office.in_the_mis("09:20")) == 1
    office.policy("ON")
    office.until(queued, "CONFIRMED")
    assert len(office.in_the_mis("09:20")) == 2


def test_what_is_stopped_for_good_is_cancelled(office: Office) -> None:
    office.policy("APPROVAL")
    write = office.submit("09:30")["write"]
    stopped = office.policy("OFF", cancel_queued=True)
    assert stopped["cancelled"] == "1"
    assert office.get(write)["state"] == "WRITE_STATE_CANCELLED"


def test_a_lost_answer_makes_no_second_event(office: Office) -> None:
    """The MIS took it, and nobody heard: it is looked for, and found."""
    office.policy("ON")
    office.simulator.faults({"kind": "lost_answer", "entity": "BehaviourEventRecords"})
    write = office.submit("09:40")["write"]
    done = office.until(write, "CONFIRMED", 100)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["OUTCOME_UNKNOWN"]
    assert len(office.in_the_mis("09:40")) == 1


def test_what_the_connector_cannot_undo_is_a_task_for_a_person(office: Office) -> None:
    office.policy("ON")
    write = office.until(office.submit("09:50")["write"], "CONFIRMED")
    decision = {"write_id": write["write_id"], "request_id": str(uuid.uuid4()), "comment": "wrong pupil"}
    task = office.ask("tutor-app", "ReverseWrite", **decision)["write"]
    assert office.ask("tutor-app", "ReverseWrite", **decision)["write"] == task
    assert (task["state"], task["reverses"]) == ("WRITE_STATE_NEEDS_ATTENTION", write["write_id"])
    assert write["mis_ids"][0] in task["task"]
    settled = {
        "write_id": task["write_id"],
        "request_id": str(uuid.uuid4()),
        "outcome": "OUTCOME_TOOK_EFFECT",
    }
    with pytest.raises(Refused) as refused:
        office.ask("tutor-app", "ResolveWrite", **settled)
    assert refused.value.reason == "ROLE_MISSING"
    office.ask("office", "ResolveWrite", **settled)
    assert office.until(write, "REVERSED")["reversed_by"] == task["write_id"]


def test_g17_writes_of_one_school_are_nothing_to_another_ones_caller(office: Office) -> None:
    office.policy("ON")
    write = office.submit("10:00")["write"]
    named = {"write_id": write["write_id"], "request_id": str(uuid.uuid4())}
    for method, request in (
        ("GetWrite", {"write_id": write["write_id"]}),
        ("ListWrites", {}),
        ("WatchWrites", {}),
        ("GetWritePolicy", {}),
        ("SubmitWrite", {"operation": office.event("10:00")}),
        ("CancelWrite", named),
        ("ReverseWrite", named),
        ("ResolveWrite", {**named, "outcome": 1}),
    ):
        with pytest.raises(Refused) as refused:
            office.ask("elsewhere", method, **request)
        assert refused.value.reason == "SCHOOL_FORBIDDEN", method
    with pytest.raises(Refused) as unknown:
        office.ask("elsewhere", "GetWrite", school_id="elm", write_id=write["write_id"])
    assert unknown.value.reason == "WRITE_NOT_FOUND"
    assert office.ask("elsewhere", "ListWrites", school_id="elm") == {}
    foreign = office.event("10:05")
    with pytest.raises(Refused) as other:
        office.ask("elsewhere", "SubmitWrite", school_id="elm", operation=foreign)
    assert office.pupil not in str(other.value), "what elm's caller is told says nothing of oak"
    # Policies of one school are its own.
    policies = office.ask("elsewhere", "GetWritePolicy", school_id="elm")["policies"]
    assert {each["policy"] for each in policies} == {"WRITE_POLICY_OFF"}


def test_g18_hostile_requests_are_refused_and_the_server_lives(office: Office) -> None:
    huge = "x" * 3_000_000
    for request, reason in (
        ({"operation": office.event("10:10", comment=huge)}, "REQUEST_INVALID"),
        ({"operation": office.event("10:10", occurred_at=huge)}, "REQUEST_INVALID"),
        ({"operation": office.event("10:10"), "idempotency_key": "\u0000\u001b[2J"}, "REQUEST_INVALID"),
        ({"operation": office.event("10:10"), "source_record_id": huge}, "REQUEST_INVALID"),
        ({"operation": office.event("10:10"), "expires_at": "9999-12-31T23:59:59Z"}, "REQUEST_INVALID"),
        ({"operation": office.event("10:10", points=2**31 - 1)}, "REQUEST_INVALID"),
        ({}, "REQUEST_INVALID"),
    ):
        with pytest.raises(Refused) as refused:
            office.ask("tutor-app", "SubmitWrite", **request)
        assert refused.value.reason == reason, str(request)[:100]
    assert office.ask("tutor-app", "ListWrites", page_size=1)["writes"]


def test_g16_nothing_of_what_was_written_is_in_a_log_or_readable_in_the_store(office: Office) -> None:
    """Runs last: the log has all of the above, and the MIS's answers that were lost."""
    folder = office.running.log.parent
    logs = [office.running.log, *(folder / "data").rglob("*.log")]
    assert len(logs) > 1, "MongoDB's log is looked at too"
    texts = {str(path): path.read_text() for path in logs}
    writes = list(office.oak.database["writes"].find({}))
    assert len(writes) >= 6
    texts |= {f"writes {write['_id']}": repr(write) for write in writes}
    texts["audit"] = repr(list(office.oak.database["audit"].find({})))
    for where, text in texts.items():
        for word in ("Featherstonehaugh", "Zebedina", *CALLERS):
            if word in CALLERS and not where.endswith(".log"):
                continue  # names of callers are who did it; in logs they would be tokens
            at = text.find(word)
            if word in CALLERS:
                assert f"Bearer {word}" not in text, where
            else:
                assert at < 0, f"{where}: …{text[max(0, at - 200) :][:400]}"
