"""Identity proposals: asked once, answered once."""

from __future__ import annotations

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.identity_service_pb2 import IdentityProposal
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.store import Store
from tests.support.store_samples import student_id

REQUEST, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def proposal(number: int, *, school: str = "oak", survivor: int = 0, second: int = 0) -> IdentityProposal:
    made = IdentityProposal(
        proposal_id=f"idp_{number}",
        school_id=school,
        kind=KIND_STUDENT,
        survivor_id=student_id(survivor or 100 + number),
        merged_id=student_id(number),
        evidence="both have the same UPN",
        run_id="run_1",
    )
    made.created_at.FromJsonString(f"2026-09-07T08:00:{second:02}Z")
    return made


async def open_ids(store: Store, school: str = "oak") -> list[str]:
    return [found.proposal_id for found in await store.proposals.list(school, None, 100)]


async def refused(store: Store, number: int, request_id: str, school: str = "oak") -> bool:
    with pytest.raises(ServiceError) as raised:
        await store.proposals.get(school, f"idp_{number}", request_id)
    return raised.value.reason == reasons.ERROR_REASON_PROPOSAL_NOT_FOUND


async def test_proposals_are_listed_newest_first_in_pages(store: Store) -> None:
    proposals = [proposal(number, second=number // 2) for number in range(1, 6)]
    assert await store.proposals.add([*proposals, proposal(9, school="elm")]) == 6
    assert await open_ids(store) == ["idp_5", "idp_4", "idp_3", "idp_2", "idp_1"]
    assert await store.proposals.list("oak", None, 2) == [proposals[4], proposals[3]]
    # What is answered between two pages tears neither.
    await store.proposals.reject("oak", "idp_4", REQUEST)
    assert await store.proposals.list("oak", "idp_4", 2) == [proposals[2], proposals[1]]
    with pytest.raises(ServiceError):
        await store.proposals.list("oak", "idp_9", 2)


async def test_a_pair_is_proposed_once_whatever_became_of_it(store: Store) -> None:
    """Seen to fail with answered proposals deleted, and with proposals replaced by later ones."""
    proposals = [proposal(number) for number in range(1, 5)]
    await store.proposals.add(proposals)
    await store.proposals.reject("oak", "idp_1", REQUEST)
    await store.proposals.accept("oak", "idp_2", REQUEST)
    await store.proposals.close("oak", student_id(3))
    assert await store.proposals.add([proposal(number, second=9) for number in range(1, 5)]) == 0
    assert await store.proposals.list("oak", None, 100) == [proposals[3]]


async def test_an_answer_is_repeated_by_its_own_request_only(store: Store) -> None:
    await store.proposals.add([proposal(1), proposal(2)])
    await store.proposals.reject("oak", "idp_1", REQUEST)
    await store.proposals.reject("oak", "idp_1", REQUEST)
    assert await store.proposals.get("oak", "idp_1", REQUEST) == proposal(1)
    assert await refused(store, 1, OTHER)
    with pytest.raises(ServiceError):
        await store.proposals.reject("oak", "idp_1", OTHER)
    assert await store.proposals.get("oak", "idp_2", OTHER) == proposal(2)
    assert await refused(store, 2, OTHER, school="elm")


async def test_a_merge_closes_what_was_asked_about_the_record(store: Store) -> None:
    await store.proposals.add(
        [proposal(1), proposal(2, survivor=1), proposal(3), proposal(4, school="elm", survivor=1)]
    )
    await store.proposals.close("oak", student_id(1), REQUEST)
    assert await open_ids(store) == ["idp_3"]
    assert await open_ids(store, "elm") == ["idp_4"]
    # The request whose run merged it may come again to hear what became of it.
    assert await store.proposals.get("oak", "idp_1", REQUEST) == proposal(1)
    assert await refused(store, 1, OTHER)
    await store.proposals.accept("oak", "idp_1", REQUEST)
    assert await open_ids(store) == ["idp_3"]
