"""Related records along with those asked for."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import Record
from tests.integration.rpc.conftest import SCHOOL
from tests.support.scripted import MEMBERSHIPS, STUDENTS, ScriptedMis, member, student
from tests.support.served import Client, refused

MEMBERSHIP = kinds.KIND_GROUP_MEMBERSHIP
PUPILS = q.Expansion(field="student_id", field_mask=FieldMask(paths=["surname"]))
MARKS = q.Expansion(kind=kinds.KIND_ATTENDANCE_MARK, field="student_id")
MEMBERS = q.Expansion(kind=MEMBERSHIP, field="group_id", expand=[PUPILS])


async def answer(client: Client, **asked: Any) -> list[q.QueryRecordsResponse]:
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_GROUP, **asked)
    return [page async for page in client.query.QueryRecords(request)]


def surnames(pages: list[q.QueryRecordsResponse]) -> list[str]:
    related = [record for page in pages for record in page.related]
    assert len({record.id for record in related}) == len(related)
    return sorted(record.student.surname for record in related if record.HasField("student"))


async def test_a_class_list_on_a_day_as_it_was_known(synced: Client, mis: ScriptedMis) -> None:
    mis.rows[MEMBERSHIPS] += [member(1, 1003, "2026-09-01", "2026-10-01"), member(1, 1004, "2026-10-01")]
    await synced.sync_to_the_end(SCHOOL)
    named = [q.Filter(field="name", operator=q.FILTER_OPERATOR_EQUAL, values=["71"])]
    asked = {"filters": named, "expand": [MEMBERS]}
    [before] = await answer(synced, effective_on="2026-09-30", **asked)
    assert surnames([before]) == ["Surname003"]
    mis.rows[STUDENTS][3] = student(3, surname="Changed", person=1003)
    mis.rows[MEMBERSHIPS].append(member(1, 1005, "2026-09-15"))
    await synced.sync_to_the_end(SCHOOL)
    assert surnames(await answer(synced, effective_on="2026-09-30", **asked)) == ["Changed", "Surname005"]
    then = await answer(synced, effective_on="2026-09-30", known_at_seq=before.seq, **asked)
    assert surnames(then) == ["Surname003"]
    on_the_day = await answer(synced, effective_on="2026-10-01", known_at_seq=before.seq, **asked)
    assert surnames(on_the_day) == ["Surname004"]


async def test_steps_go_on_and_each_record_comes_once_in_an_answer(synced: Client, mis: ScriptedMis) -> None:
    mis.rows[MEMBERSHIPS] += [member(number, 1000) for number in (1, 2)]
    await synced.sync_to_the_end(SCHOOL)
    pupils = q.Expansion(field="student_id", field_mask=FieldMask(paths=["surname"]), expand=[MARKS])
    members = q.Expansion(kind=MEMBERSHIP, field="group_id", expand=[pupils])
    pages = await answer(synced, page_size=1, expand=[members])
    assert [len(page.records) for page in pages] == [1, 1, 1]
    assert surnames(pages) == [f"Surname{number:03}" for number in range(25)]
    bodies = [record.WhichOneof("body") for page in pages for record in page.related]
    assert {body: bodies.count(body) for body in set(bodies)} == {
        "group_membership": 27,
        "student": 25,
        "attendance_mark": 25,
    }


@pytest.mark.parametrize(
    ("expand", "place"),
    [
        ([q.Expansion(field="student_id")], "expand[0].field"),
        ([q.Expansion(kind=MEMBERSHIP, field="student_id")], "expand[0].field"),
        ([q.Expansion(kind=99, field="group_id")], "expand[0].kind"),  # type: ignore[arg-type]
        (
            [
                q.Expansion(
                    kind=MEMBERSHIP,
                    field="group_id",
                    expand=[q.Expansion(field="shoe_id")],
                )
            ],
            "expand[0].expand[0].field",
        ),
        (
            [
                q.Expansion(
                    kind=MEMBERSHIP,
                    field="group_id",
                    field_mask=FieldMask(paths=["shoe_size"]),
                )
            ],
            "expand[0].field_mask",
        ),
        ([MEMBERS] * 7, "expand"),
    ],
)
async def test_a_step_that_leads_nowhere_is_named(
    synced: Client, expand: list[q.Expansion], place: str
) -> None:
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_GROUP, expand=expand)
    assert list((await refused(synced.query.QueryRecords(request))).violations) == [place]


async def test_a_page_that_leads_to_too_much_is_refused(
    synced: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schoolgate_server.rpc.expansion.MOST_RELATED", 49)
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_GROUP, expand=[MEMBERS])
    failure = await refused(synced.query.QueryRecords(request))
    assert list(failure.violations) == ["expand"]
    monkeypatch.setattr("schoolgate_server.rpc.expansion.MOST_RELATED", 50)
    assert len(surnames(await answer(synced, expand=[MEMBERS]))) == 25


async def test_a_wrong_step_is_told_with_all_that_the_kind_offers(synced: Client) -> None:
    astray = q.Expansion(kind=MEMBERSHIP, field="room_id")
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_GROUP, expand=[astray])
    failure = await refused(synced.query.QueryRecords(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID")
    assert failure.metadata == {"field": "room_id"}
    assert failure.violations == {
        "expand[0].field": "'group_membership.room_id' does not lead on from group, but subject_id; with "
        "kind, group_membership.group_id, staff_assignment.group_id, timetable_entry.group_id, "
        "attendance_mark.group_id, behaviour_event.group_id"
    }


async def test_steps_to_one_kind_show_the_fields_of_all_their_masks(synced: Client) -> None:
    """Seen to fail where the last step's mask alone counts."""
    begun, of_group = (
        q.Expansion(kind=MEMBERSHIP, field="group_id", field_mask=FieldMask(paths=[path]), expand=[PUPILS])
        for path in ("valid_from", "group_id")
    )
    pages = await answer(synced, expand=[begun, of_group], field_mask=FieldMask(paths=["name"]))
    assert [body(record) for page in pages for record in page.records] == [["name"]] * 3
    shown = {(record.WhichOneof("body"), *body(record)) for page in pages for record in page.related}
    assert shown == {("student", "surname"), ("group_membership", "group_id", "valid_from")}
    whole = q.Expansion(kind=MEMBERSHIP, field="group_id")
    [page] = await answer(synced, expand=[whole, begun])
    [member, *_] = [record for record in page.related if record.HasField("group_membership")]
    assert body(member) == ["group_id", "student_id", "valid_from"]


async def test_an_answer_that_has_sent_much_leaves_a_token_that_goes_on(
    synced: Client, mis: ScriptedMis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where ``has_sent_enough`` is not asked."""
    mis.rows[MEMBERSHIPS] += [member(number, 1000) for number in (1, 2)]
    await synced.sync_to_the_end(SCHOOL)
    monkeypatch.setattr("schoolgate_server.rpc.expansion.MOST_SENT", 2)
    seen: list[str] = []
    token = ""
    for _ in range(3):
        [page] = await answer(synced, page_size=1, expand=[MEMBERS], page_token=token)
        assert len(page.related) >= 2
        seen += [record.id for record in page.records]
        token = page.next_page_token
    assert seen == [record.id for page in await answer(synced) for record in page.records]
    [nothing] = await answer(synced, page_size=1, expand=[MEMBERS], page_token=token)
    assert (len(nothing.records), len(nothing.related), nothing.next_page_token) == (0, 0, "")


def body(record: Record) -> list[str]:
    message = getattr(record, str(record.WhichOneof("body")))
    return [field.name for field, _ in message.ListFields()]
