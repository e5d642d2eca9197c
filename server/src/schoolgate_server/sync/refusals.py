"""How long schedules leave a MIS alone that refuses the school's credentials, and what a school waits for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School, SchoolCondition

REFUSED = frozenset(
    {
        failures.FAILURE_TYPE_AUTH_EXPIRED,
        failures.FAILURE_TYPE_AUTH_INVALID,
        failures.FAILURE_TYPE_AUTH_REVOKED,
    }
)
"""The MIS refuses the credentials: asking again does harm until a person has changed something."""

AUTH_PAUSES = (
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=4),
    timedelta(days=7),
)
"""Between runs that are refused one after the other. Some MISs lock an account after a few wrong logins; the
first repetition heals what was the MIS's own mistake, the later ones only remind."""

RATE_PAUSE = timedelta(minutes=15)
"""For a MIS that asked for a pause without saying how long."""

LOOKED_AT = len(AUTH_PAUSES)
"""Runs that ended last, as many as make a difference."""


def refusals(ended: Sequence[pb.Run], school: School, partner_changed_at: datetime | None = None) -> int:
    """Return how many of ``ended`` (newest first) the MIS refused in a row, since the credentials, the
    registration, or what the server has for the partner last changed.
    """
    changed = [moment_of(school.updated_at)]
    changed += [moment_of(school.credentials_set_at)] if school.has_credentials else []
    changed += [partner_changed_at] if partner_changed_at else []
    since = max(changed)
    count = 0
    for run in ended:
        if run.failure.type not in REFUSED or moment_of(run.finished_at) < since:
            break
        count += 1
    return count


def resumes_at(
    ended: Sequence[pb.Run], school: School, partner_changed_at: datetime | None = None
) -> datetime | None:
    """Return when schedules may go on after ``ended``, runs that asked the MIS, newest first.

    ``None`` where they may at once.
    """
    if not ended or not ended[0].HasField("failure"):
        return None
    finished, why = moment_of(ended[0].finished_at), ended[0].failure
    if why.HasField("retry_at"):
        return moment_of(why.retry_at)
    if why.type == failures.FAILURE_TYPE_RATE_LIMITED:
        return finished + RATE_PAUSE
    refused = refusals(ended, school, partner_changed_at)
    return finished + AUTH_PAUSES[min(refused, len(AUTH_PAUSES)) - 1] if refused else None


def condition_of(
    ended: Sequence[pb.Run], school: School, now: datetime, partner_changed_at: datetime | None = None
) -> SchoolCondition | None:
    """Return what keeps the school's runs from succeeding or starting; ``None`` where nothing is known to.

    A change of credentials or registration since leaves the last failure in sight: whether it helped is known
    after the next run.
    """
    if not ended:
        return None
    last = ended[0]
    missing = {
        part.failure.entity
        for part in last.datasets
        if part.failure.type == failures.FAILURE_TYPE_PERMISSION and part.failure.entity
    }
    if not last.HasField("failure") and not missing:
        return None
    condition = SchoolCondition(
        run_id=last.run_id,
        missing_entities=sorted(missing),
        refusals=refusals(ended, school, partner_changed_at),
    )
    if last.HasField("failure"):
        condition.failure.CopyFrom(last.failure)
    until = resumes_at(ended, school, partner_changed_at)
    if until is not None and until > now:
        condition.schedules_wait_until.FromDatetime(until)
    return condition


def moment_of(timestamp: Timestamp) -> datetime:
    """Return the moment (UTC)."""
    return timestamp.ToDatetime(tzinfo=UTC)
