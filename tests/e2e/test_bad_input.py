"""Bad input from a MIS ends in a failure whose type says what happens next, and loses or deletes nothing.

Every case compares what is stored before and after, and shows that the next undisturbed run succeeds and
changes nothing either. What callers get wrong is in ``test_bad_requests``.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as pb
from tests.e2e.conftest import Service
from tests.support.live import CLOSED_YEAR, Live, live, part_of
from tests.support.simulator import Simulator, start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL = "bad-input"
PUPILS = 75
PAGE_SIZE = 50
SETTINGS = {
    "page_size": str(PAGE_SIZE),
    "read_attempts": "3",
    "retry_wait_seconds": "0.05",
    "max_response_mib": "1",
}
WORLD = ("--academic-year-start", "2024-09-01", "--marks-until", "2024-09-07", "--page-size", str(PAGE_SIZE))


@pytest.fixture(scope="module")
def mis() -> Generator[Simulator]:
    """Two schools of one MIS, in pages small enough for every larger dataset to have several."""
    with start_simulator(
        "--pupils", str(PUPILS), "--school", "20001", "--school", "20002", *WORLD
    ) as running:
        yield running


@pytest.fixture(scope="module")
def service(open_service: Service) -> Generator[Live]:
    with live(open_service.target, open_service.log.parent / "data") as connected:
        yield connected


class LastPages(NamedTuple):
    """The last page with rows and its number of rows, by entity."""

    number: dict[str, int]
    rows: dict[str, int]


@pytest.fixture(scope="module")
def pages(service: Live, mis: Simulator) -> LastPages:
    """Register and sync the first school, and return how its datasets end."""
    service.register(SCHOOL, mis, settings=SETTINGS, academic_year=CLOSED_YEAR)
    mis.clear_log()
    run = service.sync(SCHOOL)
    assert run.state == pb.RUN_STATE_SUCCEEDED
    found = LastPages({}, {})
    for request in mis.log()["latest"]:
        entity, number, rows = request["entity"], request["page"], request["rows"]
        if rows and number >= found.number.get(entity, 0):
            found.number[entity], found.rows[entity] = number, rows
    return found


@pytest.fixture
def synced(service: Live, mis: Simulator, pages: LastPages) -> Generator[Live]:
    """A synced school; whatever a test does to its MIS is over afterwards."""
    yield service
    mis.clear_faults()


def assert_recovers(service: Live, mis: Simulator, before: dict[str, Any], *datasets: str) -> None:
    """Show that nothing was lost, and that the next undisturbed run succeeds and changes nothing either."""
    assert service.data() == before
    mis.clear_faults()
    run = service.sync(SCHOOL, *datasets)
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert {(d.created, d.updated, d.tombstoned, d.revived) for d in run.datasets} == {(0, 0, 0, 0)}
    assert service.data() == before
    assert service.database["holds"].count_documents({"school": SCHOOL}) == 0


STUDENTS, MARKS = "StudentFlatView", "BasicAttendance"
DATASET_OF = {STUDENTS: "students", MARKS: "attendance_marks", "Staff": "staff", "Collections": "groups"}
LASTING: dict[str, Any] = {"times": None}


class Bad(NamedTuple):
    """How a MIS misbehaves with one entity, and how the entity's dataset must end."""

    entity: str
    fault: dict[str, Any]
    state: pb.DatasetState.ValueType
    failure: failures.FailureType.ValueType


def _failed(failure: failures.FailureType.ValueType, entity: str, kind: str, **members: Any) -> Bad:
    return Bad(entity, {"kind": kind, **LASTING, **members}, pb.DATASET_STATE_FAILED, failure)


def _cut(entity: str, kind: str = "truncate_page", **members: Any) -> Bad:
    fault = {"kind": kind, **members}
    return Bad(entity, fault, pb.DATASET_STATE_INCOMPLETE, failures.FAILURE_TYPE_INCOMPLETE)


MOST_REQUESTS = 40
"""More than any case needs, and far fewer than following a loop would take."""

LAST = -1
"""Stands for the number of the last page with rows."""

BAD: dict[str, Bad] = {
    "invalid JSON under HTTP 200": _failed(failures.FAILURE_TYPE_TRANSIENT, STUDENTS, "invalid_json"),
    "success: false": _failed(failures.FAILURE_TYPE_TRANSIENT, "Staff", "success_false"),
    "null data": _failed(failures.FAILURE_TYPE_TRANSIENT, "Collections", "null_data"),
    "null data, later page": _failed(failures.FAILURE_TYPE_TRANSIENT, MARKS, "null_data", page=2),
    "HTTP 500": _failed(failures.FAILURE_TYPE_TRANSIENT, STUDENTS, "status", status=500),
    "HTTP 503, later page": _failed(failures.FAILURE_TYPE_TRANSIENT, MARKS, "status", status=503, page=3),
    "HTTP 400": _failed(failures.FAILURE_TYPE_SCHEMA, STUDENTS, "status", status=400),
    "a redirect": _failed(failures.FAILURE_TYPE_SCHEMA, STUDENTS, "status", status=302),
    "reset in the middle of the body": _failed(failures.FAILURE_TYPE_TRANSIENT, STUDENTS, "reset"),
    "reset, later page": _failed(failures.FAILURE_TYPE_TRANSIENT, MARKS, "reset", page=1),
    "truncated last page": _cut(STUDENTS, page=LAST),
    "truncated last page of marks": _cut(MARKS, page=LAST),
    "last page truncated to nothing": _cut(STUDENTS, page=LAST, keep=0),
    "last page of marks truncated to nothing": _cut(MARKS, page=LAST, keep=0),
    "truncated last page, whenever it is read": _cut(STUDENTS, page=LAST, keep=12, **LASTING),
    "truncated last page of marks, whenever it is read": _cut(MARKS, page=LAST, **LASTING),
    "truncated middle page": _cut(STUDENTS, page=0, keep=49),
    "truncated middle page of marks": _cut(MARKS, page=4, **LASTING),
    "first page truncated to nothing": _cut(STUDENTS, page=0, keep=0),
    "middle page of marks truncated to nothing": _cut(MARKS, page=3, keep=0),
    "no rows at all, whenever they are read": _cut(STUDENTS, keep=0, **LASTING),
    "a page that comes again for ever": _cut(MARKS, "loop_page", page=0),
    "a later page that comes again for ever": _cut(MARKS, "loop_page", page=5),
    "pages larger than agreed": _cut(MARKS, "duplicate_rows", page=0),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_g01_a_misbehaving_mis_fails_by_its_type_and_deletes_nothing(
    synced: Live, mis: Simulator, pages: LastPages, bad: Bad
) -> None:
    before, name = synced.data(), DATASET_OF[bad.entity]
    fault = {**bad.fault, "entity": bad.entity, "school": mis.schools[0]}
    if fault.get("page") == LAST:
        fault["page"] = pages.number[bad.entity]
    mis.faults(fault)
    mis.clear_log()
    run = synced.sync(SCHOOL, name)
    assert mis.log()["requests"] < MOST_REQUESTS
    part = part_of(run, name)
    assert (part.state, part.failure.type) == (bad.state, bad.failure)
    assert part.failure.connector in {"bromcom", ""}
    assert part.failure.message
    assert part.failure.remediation
    if bad.state == pb.DATASET_STATE_FAILED:
        assert part.failure.entity == bad.entity
        assert (run.state, run.failure) == (pb.RUN_STATE_FAILED, part.failure)
    else:
        assert run.state == pb.RUN_STATE_PARTIAL
    assert_recovers(synced, mis, before, name)


def test_g02_sharply_fewer_rows_are_held(synced: Live, mis: Simulator, pages: LastPages) -> None:
    """The whole last page is gone, and gone again when it is asked for once more."""
    before = synced.data()
    missing = pages.rows[STUDENTS]
    assert missing > 20
    mis.faults(
        {"kind": "truncate_page", "entity": STUDENTS, "page": pages.number[STUDENTS], "keep": 0, **LASTING}
    )
    part = part_of(synced.sync(SCHOOL, "students"), "students")
    assert (part.state, part.failure.type) == (pb.DATASET_STATE_HELD, failures.FAILURE_TYPE_HELD)
    assert part.held >= missing
    assert part.tombstoned == 0
    assert_recovers(synced, mis, before, "students")


def test_a_pause_that_is_asked_for_ends_the_run(synced: Live, mis: Simulator) -> None:
    """Nothing is asked of the MIS before the pause is over, and no other school waits for it (G17)."""
    paused = "bad-input-paused"
    settings = {**SETTINGS, "pauses_for": "school"}
    synced.register(paused, mis, mis.schools[1], settings=settings, academic_year=CLOSED_YEAR)
    assert synced.sync(paused).state == pb.RUN_STATE_SUCCEEDED
    before = synced.data()
    mis.faults({"kind": "rate_limit", "entity": "Staff", "retry_after": "3600", **LASTING})
    mis.clear_log()
    asked_at = time.time()
    run = synced.sync(paused)
    assert (run.state, run.failure.type) == (pb.RUN_STATE_PARTIAL, failures.FAILURE_TYPE_RATE_LIMITED)
    assert run.failure.retry_at.ToDatetime().timestamp() - asked_at == pytest.approx(3600, abs=60)
    states = {d.dataset: d.state for d in run.datasets}
    place = list(states).index("staff")
    assert set(list(states.values())[:place]) == {pb.DATASET_STATE_SUCCEEDED}
    assert states["staff"] == pb.DATASET_STATE_FAILED
    assert set(list(states.values())[place + 1 :]) == {pb.DATASET_STATE_SKIPPED}
    requests = mis.log()["entities"]
    assert requests["Staff"]["requests"] == 1
    assert MARKS not in requests
    mis.clear_faults()
    mis.clear_log()
    run = synced.sync(paused)
    assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, failures.FAILURE_TYPE_RATE_LIMITED)
    assert mis.log()["requests"] == 0
    assert_recovers(synced, mis, before, "staff")


SURVIVABLE: dict[str, dict[str, Any]] = {
    "a pause of no length": {"kind": "rate_limit", "retry_after": "0", "times": 2},
    "a pause without a length": {"kind": "rate_limit", "times": 2},
    "two answers of HTTP 500": {"kind": "status", "status": 500, "times": 2},
    "one reset": {"kind": "reset"},
    "one cut-off answer": {"kind": "invalid_json"},
    "one answer without data": {"kind": "null_data"},
}


@pytest.mark.parametrize("fault", SURVIVABLE.values(), ids=list(SURVIVABLE))
def test_what_passes_is_survived(synced: Live, mis: Simulator, fault: dict[str, Any]) -> None:
    before = synced.data()
    mis.faults({**fault, "entity": MARKS, "page": 1})
    run = synced.sync(SCHOOL, "attendance_marks")
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert mis.control("GET", "")["pending_faults"] == 0
    assert synced.data() == before


def test_an_entity_revoked_before_a_run(synced: Live, mis: Simulator) -> None:
    before = synced.data()
    with ExitStack() as stack:
        stack.callback(mis.faults, {"kind": "grant", "entity": "Collections"})
        mis.faults({"kind": "revoke", "entity": "Collections"})
        run = synced.sync(SCHOOL)
        granted = synced.schools.CheckConnection(s.CheckConnectionRequest(school_id=SCHOOL))
    part = part_of(run, "groups")
    assert (part.state, part.failure.type) == (pb.DATASET_STATE_FAILED, failures.FAILURE_TYPE_PERMISSION)
    assert (part.failure.entity, part.failure.audience) == ("Collections", failures.AUDIENCE_SCHOOL)
    assert run.state == pb.RUN_STATE_PARTIAL
    denied = [grant for grant in granted.grants if grant.state == s.EntityGrant.STATE_DENIED]
    assert [(grant.entity, list(grant.datasets)) for grant in denied] == [("Collections", ["groups"])]
    assert granted.ok
    others = {d.state for d in run.datasets if d.dataset != "groups"}
    assert others == {pb.DATASET_STATE_SUCCEEDED}
    assert_recovers(synced, mis, before, "groups")


@pytest.mark.parametrize(("entity", "page"), [(STUDENTS, 1), (MARKS, 2)])
def test_an_entity_revoked_in_the_middle_of_a_run(
    synced: Live, mis: Simulator, entity: str, page: int
) -> None:
    before = synced.data()
    with ExitStack() as stack:
        stack.callback(mis.faults, {"kind": "grant", "entity": entity})
        mis.faults({"kind": "revoke", "entity": entity, "page": page, "school": mis.schools[0]})
        run = synced.sync(SCHOOL, DATASET_OF[entity])
    part = part_of(run, DATASET_OF[entity])
    assert (part.state, part.failure.type) == (pb.DATASET_STATE_FAILED, failures.FAILURE_TYPE_PERMISSION)
    assert part.failure.entity == entity
    assert part.tombstoned == 0
    assert_recovers(synced, mis, before, DATASET_OF[entity])


def test_a_wrong_secret(synced: Live, mis: Simulator, open_service: Service) -> None:
    before = synced.data("schools")
    wrong = {**mis.credentials, "application_secret": "not-the-secret-at-all"}
    with ExitStack() as stack:
        stack.callback(synced.set_credentials, SCHOOL, mis.credentials)
        synced.set_credentials(SCHOOL, wrong)
        checked = synced.schools.CheckConnection(s.CheckConnectionRequest(school_id=SCHOOL))
        run = synced.sync(SCHOOL)
    assert not checked.ok
    assert checked.failure.type == failures.FAILURE_TYPE_AUTH_INVALID
    assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, failures.FAILURE_TYPE_AUTH_INVALID)
    assert run.failure.audience == failures.AUDIENCE_OPERATOR
    first, *others = (d.state for d in run.datasets)
    assert first == pb.DATASET_STATE_FAILED
    assert set(others) == {pb.DATASET_STATE_SKIPPED}
    assert synced.data("schools") == before
    assert_recovers(synced, mis, synced.data())
    told = f"{run}{checked}{open_service.log.read_text()}{synced.documents()}"
    assert wrong["application_secret"] not in told
    assert mis.credentials["application_secret"] not in told


def test_g18_an_answer_larger_than_the_limit(synced: Live, mis: Simulator) -> None:
    """Three comments of 400 kB on one pupil's marks make one page larger than the limit of 1 MiB."""
    record = synced.records(SCHOOL, kinds.KIND_ATTENDANCE_MARK)[0].attendance_mark
    pupil = next(
        each for each in synced.records(SCHOOL, kinds.KIND_STUDENT) if each.id == record.student_id
    ).source_keys[0]
    marks = [
        each.attendance_mark
        for each in synced.records(SCHOOL, kinds.KIND_ATTENDANCE_MARK)
        if each.attendance_mark.student_id == record.student_id
    ][:3]
    before = synced.data()

    def comment(text: str | None) -> None:
        for mark in marks:
            mis.edit(
                {
                    "school": mis.schools[0],
                    "op": "correct_mark",
                    "pupil": pupil.parts[0].integer,
                    "date": mark.date,
                    "session": mark.period_name,
                    "code": mark.code,
                    "comment": text,
                }
            )

    with ExitStack() as stack:
        stack.callback(comment, None)
        comment("x" * 400_000)
        run = synced.sync(SCHOOL, "attendance_marks")
    part = part_of(run, "attendance_marks")
    assert (part.state, part.failure.type) == (
        pb.DATASET_STATE_INCOMPLETE,
        failures.FAILURE_TYPE_INCOMPLETE,
    )
    assert "1 MiB" in part.failure.message
    assert (run.state, part.tombstoned) == (pb.RUN_STATE_PARTIAL, 0)
    assert_recovers(synced, mis, before, "attendance_marks")


@pytest.mark.parametrize("page", [0, LAST])
def test_rows_of_another_school_delete_nothing_and_are_undone(
    service: Live, mis: Simulator, pages: LastPages, page: int
) -> None:
    """Rows name no school and numbers of schools may agree, so that such rows can pass for changes.

    What they change is a version more, which the next run takes back; no record leaves for their sake.
    """
    before = service.everything(SCHOOL)
    number = pages.number[STUDENTS] if page == LAST else page
    mis.faults({"kind": "other_school", "entity": STUDENTS, "page": number, "school": mis.schools[0]})
    part = part_of(service.sync(SCHOOL, "students"), "students")
    assert (part.state, part.failure.type) == (
        pb.DATASET_STATE_INCOMPLETE,
        failures.FAILURE_TYPE_INCOMPLETE,
    )
    assert part.tombstoned == 0
    run = service.sync(SCHOOL, "students")
    assert run.state == pb.RUN_STATE_SUCCEEDED
    after = service.everything(SCHOOL)
    intruders = after.keys() - before.keys()
    assert not before.keys() - after.keys()
    for record_id, record in before.items():
        now = after[record_id]
        assert now.HasField("tombstone") == record.HasField("tombstone")
        if now.version != record.version:
            history = {
                version.record.version: version.record for version in service.versions(SCHOOL, record_id)
            }
            assert history[record.version] == record
        now.version, now.seq, now.run_id = record.version, record.seq, record.run_id
        now.committed_at.CopyFrom(record.committed_at)
        assert now == record
    assert all(after[record_id].HasField("tombstone") for record_id in intruders)
