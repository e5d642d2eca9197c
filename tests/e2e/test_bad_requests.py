"""Bad requests are refused with the reason that is documented, and change nothing in any collection."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as pb
from tests.e2e.conftest import Service
from tests.support.live import Live, live, refused, wire_key
from tests.support.served import Failure, new_request_id
from tests.support.simulator import Simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL = "bad-requests"
OTHER_SCHOOL = "bad-requests-next-door"
NOBODY = "never-registered"


@pytest.fixture(scope="module")
def service(open_service: Service, simulator: Simulator) -> Generator[Live]:
    """A service with a synced school."""
    with live(open_service.target, open_service.log.parent / "data") as connected:
        connected.register(SCHOOL, simulator)
        assert connected.sync(SCHOOL, "students").state == pb.RUN_STATE_SUCCEEDED
        yield connected


def assert_nothing_happens(service: Live, call: Callable[[], Any]) -> Failure:
    """Return the failure of ``call``, after which every document of every collection is as it was."""
    before = service.fingerprints()
    failure = refused(call)
    assert service.fingerprints() == before
    return failure


CALLS_FOR_A_SCHOOL: dict[str, Callable[[Live], Any]] = {
    "GetSchool": lambda live: live.schools.GetSchool(s.GetSchoolRequest(school_id=NOBODY)),
    "UpdateSchool": lambda live: live.schools.UpdateSchool(
        s.UpdateSchoolRequest(
            school=s.School(school_id=NOBODY, display_name="x"),
            update_mask=FieldMask(paths=["display_name"]),
            request_id=new_request_id(),
        )
    ),
    "SetCredentials": lambda live: live.schools.SetCredentials(
        s.SetCredentialsRequest(
            school_id=NOBODY,
            credentials={"application_id": "a", "application_secret": "b"},
            request_id=new_request_id(),
        )
    ),
    "CheckConnection": lambda live: live.schools.CheckConnection(s.CheckConnectionRequest(school_id=NOBODY)),
    "StartSync": lambda live: live.runs.StartSync(
        pb.StartSyncRequest(school_id=NOBODY, request_id=new_request_id())
    ),
    "GetRun": lambda live: live.runs.GetRun(pb.GetRunRequest(school_id=NOBODY, run_id="run_1")),
    "ListRuns": lambda live: live.runs.ListRuns(pb.ListRunsRequest(school_id=NOBODY)),
    "WatchRun": lambda live: live.runs.WatchRun(pb.WatchRunRequest(school_id=NOBODY, run_id="run_1")),
    "CancelRun": lambda live: live.runs.CancelRun(
        pb.CancelRunRequest(school_id=NOBODY, run_id="run_1", request_id=new_request_id())
    ),
    "GetRecord": lambda live: live.query.GetRecord(
        q.GetRecordRequest(school_id=NOBODY, record_id="stu_" + "0" * 32)
    ),
    "QueryRecords": lambda live: live.query.QueryRecords(
        q.QueryRecordsRequest(school_id=NOBODY, kind=kinds.KIND_STUDENT)
    ),
    "CountRecords": lambda live: live.query.CountRecords(
        q.CountRecordsRequest(school_id=NOBODY, kind=kinds.KIND_STUDENT)
    ),
    "ListVersions": lambda live: live.query.ListVersions(
        q.ListVersionsRequest(school_id=NOBODY, record_id="stu_" + "0" * 32)
    ),
}


@pytest.mark.parametrize("method", CALLS_FOR_A_SCHOOL)
def test_an_unknown_school(service: Live, method: str) -> None:
    failure = assert_nothing_happens(service, lambda: CALLS_FOR_A_SCHOOL[method](service))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "SCHOOL_NOT_FOUND")
    assert failure.metadata == {"school_id": NOBODY}


FILTERS: list[tuple[q.Filter, str]] = [
    (q.Filter(field="shoe_size", operator=q.FILTER_OPERATOR_EQUAL, values=["44"]), "field"),
    (q.Filter(field="$where", operator=q.FILTER_OPERATOR_EQUAL, values=["1"]), "field"),
    (q.Filter(field="body.surname", operator=q.FILTER_OPERATOR_EQUAL, values=["x"]), "field"),
    (q.Filter(field="surname", values=["x"]), "operator"),
    (q.Filter(field="sex", operator=q.FILTER_OPERATOR_LESS, values=["SEX_MALE"]), "operator"),
    (q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL), "values"),
    (q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=["x", "y"]), "values"),
    (q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=["x" * 1000]), "values"),
    (q.Filter(field="sex", operator=q.FILTER_OPERATOR_EQUAL, values=["F"]), "values"),
    (q.Filter(field="in_care", operator=q.FILTER_OPERATOR_EQUAL, values=["Yes"]), "values"),
    (q.Filter(field="date_of_birth", operator=q.FILTER_OPERATOR_EQUAL, values=["1/9/2012"]), "values"),
    (q.Filter(field="upn", operator=q.FILTER_OPERATOR_IN), "values"),
    (q.Filter(field="upn", operator=q.FILTER_OPERATOR_PRESENT, values=["perhaps"]), "values"),
]


@pytest.mark.parametrize(("asked", "part"), FILTERS)
def test_a_malformed_filter(service: Live, asked: q.Filter, part: str) -> None:
    of_students: dict[str, Any] = {"school_id": SCHOOL, "kind": kinds.KIND_STUDENT, "filters": [asked]}
    calls: list[Callable[[], Any]] = [
        partial(service.query.QueryRecords, q.QueryRecordsRequest(**of_students)),
        partial(service.query.CountRecords, q.CountRecordsRequest(**of_students)),
    ]
    for call in calls:
        failure = assert_nothing_happens(service, call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID")
        assert failure.metadata == {"field": asked.field}
        assert list(failure.violations) == [f"filters[0].{part}"]


@pytest.mark.parametrize("kind", [kinds.KIND_UNSPECIFIED, 999])
def test_a_wrong_kind(service: Live, kind: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: service.query.QueryRecords(q.QueryRecordsRequest(school_id=SCHOOL, kind=kind)),
        lambda: service.query.CountRecords(q.CountRecordsRequest(school_id=SCHOOL, kind=kind)),
        lambda: service.query.GetRecord(
            q.GetRecordRequest(school_id=SCHOOL, kind=kind, source_key=wire_key("bromcom/student", 1))
        ),
    ]
    for call in calls:
        failure = assert_nothing_happens(service, call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
        assert list(failure.violations) == ["kind"]


def test_the_key_of_another_kind_or_type_finds_nothing(service: Live) -> None:
    known = service.records(SCHOOL, kinds.KIND_STUDENT)[0].source_keys[0]
    number = known.parts[0].integer
    for kind, key in (
        (kinds.KIND_STAFF, known),
        (kinds.KIND_STUDENT, wire_key("bromcom/student", str(number))),
        (kinds.KIND_STUDENT, wire_key("bromcom/staff", number)),
        (kinds.KIND_STUDENT, wire_key("bromcom/student", number, 1)),
    ):
        request = q.GetRecordRequest(school_id=SCHOOL, kind=kind, source_key=key)
        failure = assert_nothing_happens(service, partial(service.query.GetRecord, request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "RECORD_NOT_FOUND")


CALLS_WITH_PAGES: dict[str, tuple[int, Callable[[Live, int, str], Any]]] = {
    "QueryRecords": (
        5000,
        lambda live, size, token: live.query.QueryRecords(
            q.QueryRecordsRequest(
                school_id=SCHOOL, kind=kinds.KIND_STUDENT, page_size=size, page_token=token, max_records=2
            )
        ),
    ),
    "ListVersions": (
        1000,
        lambda live, size, token: live.query.ListVersions(
            q.ListVersionsRequest(
                school_id=SCHOOL,
                record_id=live.records(SCHOOL, kinds.KIND_STUDENT)[0].id,
                page_size=size,
                page_token=token,
            )
        ),
    ),
    "ListRuns": (
        1000,
        lambda live, size, token: live.runs.ListRuns(
            pb.ListRunsRequest(school_id=SCHOOL, page_size=size, page_token=token)
        ),
    ),
    "ListSchools": (
        1000,
        lambda live, size, token: live.schools.ListSchools(
            s.ListSchoolsRequest(page_size=size, page_token=token)
        ),
    ),
}


@pytest.mark.parametrize("method", CALLS_WITH_PAGES)
def test_an_oversized_page(service: Live, method: str) -> None:
    maximum, call = CALLS_WITH_PAGES[method]
    for size in (maximum + 1, 2**31 - 1, -1):
        failure = assert_nothing_happens(service, partial(call, service, size, ""))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_SIZE_INVALID")
        assert failure.metadata == {"maximum": str(maximum)}
        assert list(failure.violations) == ["page_size"]


@pytest.mark.parametrize("method", CALLS_WITH_PAGES)
def test_a_malformed_page_token(service: Live, method: str) -> None:
    _, call = CALLS_WITH_PAGES[method]
    for token in ("x", "not base64!", "A" * 40, "A" * 5000):
        failure = assert_nothing_happens(service, partial(call, service, 2, token))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        assert list(failure.violations) == ["page_token"]


def test_g17_a_page_token_of_another_question_or_school(service: Live, simulator: Simulator) -> None:
    service.register(OTHER_SCHOOL, simulator)
    asked = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT, max_records=2)
    token = list(service.query.QueryRecords(asked))[-1].next_page_token
    assert token
    others = [
        q.QueryRecordsRequest(school_id=OTHER_SCHOOL, kind=kinds.KIND_STUDENT),
        q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STAFF),
        q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT, include_tombstones=True),
    ]
    for other in others:
        other.page_token = token
        failure = assert_nothing_happens(service, partial(service.query.QueryRecords, other))
        assert failure.reason == "PAGE_TOKEN_INVALID"
    middle = len(token) // 2
    asked.page_token = token[:middle] + ("B" if token[middle] == "A" else "A") + token[middle + 1 :]
    assert refused(partial(service.query.QueryRecords, asked)).reason == "PAGE_TOKEN_INVALID"
    asked.page_token = token
    assert next(iter(service.query.QueryRecords(asked))).records


def test_g18_a_request_that_is_too_large_or_no_message(service: Live) -> None:
    before = service.fingerprints()
    count = "/schoolgate.v1.QueryService/CountRecords"
    channel: Any = service.channel
    send = channel.unary_unary(count)
    failure = refused(partial(send, b"\xff" * 20))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    # Larger than the server reads: gRPC itself answers, before there is a request that could be looked at.
    with pytest.raises(grpc.RpcError) as caught:
        send(b"\n" + b"\xff\xff\xff\x03" + b"x" * (8 << 20))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.count(SCHOOL, kinds.KIND_STUDENT) == 40
    assert service.fingerprints() == before


def test_an_unknown_dataset_and_a_run_that_is_not_there(service: Live) -> None:
    request = pb.StartSyncRequest(school_id=SCHOOL, datasets=["lunches"], request_id=new_request_id())
    failure = assert_nothing_happens(service, partial(service.runs.StartSync, request))
    assert failure.reason == "DATASET_UNKNOWN"
    assert failure.metadata == {"dataset": "lunches", "connector": "bromcom"}
    watched = pb.WatchRunRequest(school_id=SCHOOL, run_id="run_1")
    failure = assert_nothing_happens(service, partial(service.runs.WatchRun, watched))
    assert failure.reason == "RUN_NOT_FOUND"
