"""The versions of a record as they were known at one instant."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from tests.integration.rpc.conftest import SCHOOL
from tests.support.scripted import STUDENTS, ScriptedMis, student
from tests.support.served import Client, refused


async def test_g12_versions_as_known_then_do_not_change_later(synced: Client, mis: ScriptedMis) -> None:
    """Seen to fail where what is published is taken instead."""
    named = q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=["Surname003"])
    one = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT, filters=[named])
    [page] = [page async for page in synced.query.QueryRecords(one)]
    request = q.ListVersionsRequest(school_id=SCHOOL, record_id=page.records[0].id)
    known = [await synced.query.ListVersions(request)]
    for surname in ("Second", "Third"):
        mis.rows[STUDENTS][3] = student(3, surname=surname, person=1003)
        await synced.sync_to_the_end(SCHOOL)
        known.append(await synced.query.ListVersions(request))
    assert [len(answer.versions) for answer in known] == [1, 2, 3]
    assert sorted({answer.seq for answer in known}) == [answer.seq for answer in known]
    for answer in known:
        request.known_at_seq = answer.seq
        assert await synced.query.ListVersions(request) == answer
        newest = answer.versions[0]
        assert not newest.HasField("superseded_at")
        request.known_at_seq = 0
        request.known_at.CopyFrom(newest.record.committed_at)
        assert (await synced.query.ListVersions(request)).versions == answer.versions
        request.ClearField("known_at")


async def test_versions_of_before_the_record_are_not_found(synced: Client) -> None:
    one = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT, max_records=1)
    [page] = [page async for page in synced.query.QueryRecords(one)]
    request = q.ListVersionsRequest(
        school_id=SCHOOL, record_id=page.records[0].id, known_at=Timestamp(seconds=1)
    )
    assert (await refused(synced.query.ListVersions(request))).reason == "RECORD_NOT_FOUND"
    request.known_at_seq = 1
    assert list((await refused(synced.query.ListVersions(request))).violations) == ["known_at"]
