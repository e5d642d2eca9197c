"""When a schedule's run is due, and what it reads."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import AcademicYearSpan, School, SyncSchedule
from schoolgate_server.sync.layers import Wanted
from schoolgate_server.sync.schedule import Due, due, request_id_of, wanted_of

NOW = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
FULL = SyncSchedule(layer=pb.SYNC_LAYER_FULL, every_minutes=1440)
WINDOW = SyncSchedule(layer=pb.SYNC_LAYER_WINDOW, every_minutes=60, window_days=14)
CHANGES = SyncSchedule(layer=pb.SYNC_LAYER_CHANGES, every_minutes=5)


def minutes(number: float) -> datetime:
    return NOW - timedelta(minutes=number)


def test_what_never_ran_is_due_at_once_the_most_thorough_first() -> None:
    assert [run.layer for run in due([CHANGES, WINDOW, FULL], {}, NOW)] == [
        pb.SYNC_LAYER_FULL,
        pb.SYNC_LAYER_WINDOW,
        pb.SYNC_LAYER_CHANGES,
    ]
    assert due([], {}, NOW) == []


@pytest.mark.parametrize(("ago", "is_due"), [(0, False), (4.99, False), (5, True), (600, True)])
def test_a_run_is_due_its_interval_after_the_start_of_the_last(ago: float, is_due: bool) -> None:
    found = due([CHANGES], {pb.SYNC_LAYER_CHANGES: minutes(ago)}, NOW)
    assert found == ([Due(pb.SYNC_LAYER_CHANGES, minutes(ago), 0)] if is_due else [])


def test_layers_have_their_own_intervals() -> None:
    starts = {
        pb.SYNC_LAYER_FULL: minutes(1000),
        pb.SYNC_LAYER_WINDOW: minutes(61),
        pb.SYNC_LAYER_CHANGES: minutes(1),
    }
    assert [run.layer for run in due([FULL, WINDOW, CHANGES], starts, NOW)] == [pb.SYNC_LAYER_WINDOW]


def test_a_due_run_has_one_request_id_wherever_it_is_found_due() -> None:
    [run] = due([FULL], {pb.SYNC_LAYER_FULL: minutes(2000)}, NOW)
    [same] = due([FULL], {pb.SYNC_LAYER_FULL: minutes(2000)}, NOW + timedelta(seconds=7))
    [later] = due([FULL], {pb.SYNC_LAYER_FULL: minutes(1999)}, NOW + timedelta(seconds=7))
    assert request_id_of("oak", run) == request_id_of("oak", same)
    others = {request_id_of("elm", run), request_id_of("oak", later)}
    others.add(request_id_of("oak", run._replace(layer=pb.SYNC_LAYER_WINDOW)))
    assert len(others | {request_id_of("oak", run)}) == 4


def test_a_window_goes_from_some_days_ago_to_the_end_of_the_year() -> None:
    run = Due(pb.SYNC_LAYER_WINDOW, None, 14)
    assert wanted_of(School(), run, date(2026, 11, 2)) == Wanted(
        (), pb.SYNC_LAYER_WINDOW, "2026-10-19", "2027-09-01"
    )
    assert wanted_of(School(), run, date(2026, 9, 3)) == Wanted(
        (), pb.SYNC_LAYER_WINDOW, "2026-09-01", "2027-09-01"
    )
    past = School(academic_year=AcademicYearSpan(name="x", valid_from="2025-09-01", valid_to="2026-07-21"))
    assert wanted_of(past, run, date(2026, 11, 2)) is None
    assert wanted_of(past, run._replace(layer=pb.SYNC_LAYER_FULL), date(2026, 11, 2)) == Wanted()
