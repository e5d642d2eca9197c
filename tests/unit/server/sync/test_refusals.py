"""What makes schedules wait, for how long, and what a school's condition says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.sync.refusals import (
    AUTH_PAUSES,
    RATE_PAUSE,
    REFUSED,
    condition_of,
    refusals,
    resumes_at,
)

NOW = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
INVALID = failures.FAILURE_TYPE_AUTH_INVALID


def minutes(number: float) -> datetime:
    return NOW - timedelta(minutes=number)


def ended(failure_type: failures.FailureType.ValueType, ago: float = 10) -> pb.Run:
    run = pb.Run(run_id="run_1", state=pb.RUN_STATE_FAILED, failure=failures.Failure(type=failure_type))
    run.finished_at.FromDatetime(minutes(ago))
    return run


def succeeded(ago: float) -> pb.Run:
    run = pb.Run(run_id="run_0", state=pb.RUN_STATE_SUCCEEDED)
    run.finished_at.FromDatetime(minutes(ago))
    return run


def school(updated: float = 100_000, credentials: float | None = 90_000) -> School:
    made = School()
    made.updated_at.FromDatetime(minutes(updated))
    if credentials is not None:
        made.has_credentials = True
        made.credentials_set_at.FromDatetime(minutes(credentials))
    return made


@pytest.mark.parametrize("refusal", sorted(REFUSED))
def test_refused_credentials_make_schedules_wait_until_something_changed(
    refusal: failures.FailureType.ValueType,
) -> None:
    runs = [ended(refusal), succeeded(20)]
    assert resumes_at(runs, school()) == minutes(10) + AUTH_PAUSES[0]
    assert resumes_at(runs, school(credentials=None)) == minutes(10) + AUTH_PAUSES[0]
    assert resumes_at(runs, school(credentials=9)) is None
    assert resumes_at(runs, school(updated=9)) is None


def test_gaps_grow_with_refusals_in_a_row_up_to_a_bound() -> None:
    runs = [ended(INVALID, ago) for ago in range(10, 17)]
    gaps = [resumes_at(runs[:number], school()) for number in range(1, 8)]
    assert gaps == [minutes(10) + AUTH_PAUSES[min(number, 5) - 1] for number in range(1, 8)]
    assert list(AUTH_PAUSES) == sorted(set(AUTH_PAUSES))


def test_only_refusals_since_the_last_change_and_in_a_row_count() -> None:
    assert refusals([ended(INVALID, 10), ended(INVALID, 20), ended(INVALID, 30)], school()) == 3
    assert refusals([ended(INVALID, 10), ended(INVALID, 20), ended(INVALID, 30)], school(credentials=25)) == 2
    assert refusals([ended(INVALID, 10), succeeded(20), ended(INVALID, 30)], school()) == 1
    transient = ended(failures.FAILURE_TYPE_TRANSIENT, 20)
    assert refusals([ended(INVALID, 10), transient, ended(INVALID, 30)], school()) == 1


def test_a_mis_that_asked_for_a_pause_gets_it() -> None:
    run = ended(failures.FAILURE_TYPE_RATE_LIMITED)
    assert resumes_at([run], school()) == minutes(10) + RATE_PAUSE
    run.failure.retry_at.FromDatetime(NOW + timedelta(hours=3))
    assert resumes_at([run], school(updated=0)) == NOW + timedelta(hours=3)


def test_other_outcomes_make_nobody_wait() -> None:
    assert resumes_at([], school()) is None
    assert resumes_at([succeeded(10), ended(INVALID)], school()) is None
    assert resumes_at([ended(failures.FAILURE_TYPE_TRANSIENT)], school()) is None


def test_a_healthy_school_has_no_condition() -> None:
    assert condition_of([], school(), NOW) is None
    assert condition_of([succeeded(10), ended(INVALID, 20)], school(), NOW) is None


def test_a_condition_says_what_failed_how_often_and_until_when_schedules_wait() -> None:
    found = condition_of([ended(INVALID, 10), ended(INVALID, 20)], school(), NOW)
    assert found is not None
    assert (found.run_id, found.failure.type, found.refusals) == ("run_1", INVALID, 2)
    assert found.schedules_wait_until.ToDatetime(tzinfo=UTC) == minutes(10) + AUTH_PAUSES[1]
    later = condition_of([ended(INVALID, 10), ended(INVALID, 20)], school(), NOW + timedelta(days=2))
    assert later is not None
    assert not later.HasField("schedules_wait_until")


def test_a_condition_names_the_entities_to_ask_for() -> None:
    run = succeeded(10)
    run.state = pb.RUN_STATE_PARTIAL
    for dataset, entity in (("staff", "Staff"), ("groups", "Collections"), ("students", "")):
        part = run.datasets.add(dataset=dataset)
        if entity:
            part.failure.type = failures.FAILURE_TYPE_PERMISSION
            part.failure.entity = entity
    found = condition_of([run], school(), NOW)
    assert found is not None
    assert list(found.missing_entities) == ["Collections", "Staff"]
    assert not found.HasField("failure")
