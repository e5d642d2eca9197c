"""The instant that a question is answered as of: the latest one, a seq, or a point in time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate_server.model.errors import Violation, invalid_request
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.ports import Store

Timed: TypeAlias = (
    q.GetRecordRequest
    | q.QueryRecordsRequest
    | q.CountRecordsRequest
    | q.ListVersionsRequest
    | pb.GetTimetableRequest
    | pb.ListTeachersRequest
    | pb.GetAttendanceRequest
    | pb.GetRollRequest
)
"""A request that may say what it is to be answered as of."""


def check_instant(request: Timed, violations: Violations) -> None:
    """Note what is wrong with ``known_at_seq`` and ``known_at``, apart from what only the store knows."""
    if request.known_at_seq < 0:
        violations.add("known_at_seq", "must be 0, for the latest, or a published seq")
    if not request.HasField("known_at"):
        return
    if request.known_at_seq:
        violations.add("known_at", "must not be given together with known_at_seq")
    try:
        _time(request)
    except ValueError:
        violations.add("known_at", "must be a point in time of the years 1 to 9999")


def is_latest(request: Timed) -> bool:
    """Whether ``request`` is to be answered as of the latest instant."""
    return not request.known_at_seq and not request.HasField("known_at")


async def instant_of(store: Store, request: Timed) -> int:
    """Return the seq that ``request``, once checked, is to be answered as of.

    Raises:
        ServiceError: ``SCHOOL_NOT_FOUND``; ``REQUEST_INVALID`` for what is not published or has not come
            yet; ``KNOWN_AT_UNSETTLED``.
    """
    if request.HasField("known_at"):
        await store.schools.get(request.school_id)
        return await store.instants.seq_at(request.school_id, _time(request))
    published = await published_seq(store, request.school_id)
    if request.known_at_seq > published:
        raise invalid_request(
            Violation("known_at_seq", f"must not lie after the school's published seq, {published}")
        )
    return request.known_at_seq or published


async def published_seq(store: Store, school_id: str) -> int:
    """Return the school's published seq; raises ``SCHOOL_NOT_FOUND``."""
    published = await store.records.published(school_id)
    if not published:  # a school that has commits is registered: one read says both
        await store.schools.get(school_id)
    return published


def _time(request: Timed) -> datetime:
    return request.known_at.ToDatetime(tzinfo=UTC)
