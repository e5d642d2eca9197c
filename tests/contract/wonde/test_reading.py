"""How a read of Wonde ends, and what is done about approvals, regions and addresses in answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schoolgate_sdk import (
    AuthInvalid,
    AuthRevoked,
    EntityDenied,
    EntityGrantState,
    Identity,
    Incomplete,
    Scope,
    SourceKey,
)
from schoolgate_wonde.datasets import DATASETS
from tests.contract.wonde.conftest import SCHOOL, Wonde, read, serving

YEAR = "2026/2027"


@pytest.mark.parametrize("dataset", [dataset.name for dataset in DATASETS])
async def test_g02_the_wrong_region_has_no_data_and_that_is_no_success(dataset: str) -> None:
    """Seen to fail without the look at the region."""
    async with serving(has_data=False) as wonde, wonde.session() as session:
        with pytest.raises(Incomplete, match="region"):
            await read(session, dataset)


async def test_a_dataset_may_be_empty_in_a_school_that_has_pupils(wonde: Wonde) -> None:
    for event in list(wonde.world.behaviour):
        wonde.world.delete_behaviour(event)
    async with wonde.session() as session:
        rows, end = await read(session, "behaviour_events")
    assert (rows, end.terminator_proven) == ([], True)


async def test_g17_next_is_never_followed(wonde: Wonde) -> None:
    """The simulator's ``next`` names another host; every page comes from the one in the settings."""
    async with wonde.session() as session:
        rows, _ = await read(session, "students")
    assert len(rows) == 30
    log: Any = wonde.api.log.as_json()
    assert {entry["school"] for entry in log["latest"]} == {SCHOOL}
    assert [entry["resource"] for entry in log["latest"]].count("students") == 3  # two pages, the last twice


async def test_g01_counts_speak_against_a_read_that_lacks_somebody(wonde: Wonde) -> None:
    wonde.fault("truncate_page", entity="students", page=1, times=None, keep=3)
    async with wonde.session() as session:
        rows, end = await read(session, "students")
    assert end.terminator_proven
    assert (len(rows), end.expected_rows) == (23, 30)


async def test_g01_a_last_page_that_changes_is_a_contradiction(wonde: Wonde) -> None:
    """Seen to fail without the second look at the last page."""
    wonde.fault("truncate_page", entity="employees", page=0, keep=3)
    async with wonde.session() as session:
        _, end = await read(session, "staff")
    assert not end.terminator_proven
    assert end.contradiction is not None


async def test_g01_a_short_page_in_the_middle_is_a_contradiction(wonde: Wonde) -> None:
    wonde.fault("truncate_page", entity="attendance/session", page=1, times=None)
    async with wonde.session() as session:
        _, end = await read(session, "attendance_marks")
    assert not end.terminator_proven


@pytest.mark.parametrize(
    ("state", "error"), [("revoked", AuthRevoked), ("declined", AuthInvalid), ("pending", AuthInvalid)]
)
async def test_a_school_that_does_not_approve_is_told_apart(
    wonde: Wonde, state: str, error: type[AuthInvalid]
) -> None:
    wonde.school.state = state
    async with wonde.session() as session:
        with pytest.raises(error) as refused:
            await read(session, "students")
        assert refused.value.identity is Identity.SCHOOL
        assert isinstance(refused.value, AuthRevoked) == (state == "revoked")
        with pytest.raises(error):
            await session.grants(["students"])


async def test_what_is_nested_and_not_approved_is_named(wonde: Wonde) -> None:
    wonde.fault("revoke", entity="education_details")
    async with wonde.session() as session:
        with pytest.raises(EntityDenied) as denied:
            await read(session, "students")
        assert denied.value.entity == "education_details"
        states = await session.grants(["students", "education_details", "contact_details", "no-such"])
    assert list(states.values()) == [
        EntityGrantState.GRANTED,
        EntityGrantState.DENIED,
        EntityGrantState.GRANTED,
        EntityGrantState.UNKNOWN_ENTITY,
    ]
    paths = "upn=, uln=, admission_number=, national_curriculum_year="
    async with wonde.session(fields_students=paths) as session:
        assert await session.grants(["education_details"]) == {"education_details": EntityGrantState.GRANTED}
        rows, _ = await read(session, "students")
    assert len(rows) == 30


async def test_changes_tell_of_an_edit_and_of_a_deletion(wonde: Wonde) -> None:
    async with wonde.session() as session:
        _, end = await read(session, "behaviour_events")
        wonde.clock.put_on(minutes=10)
        events = list(wonde.world.behaviour)
        wonde.world.correct_behaviour(events[0], comment="Said sorry")
        wonde.world.delete_behaviour(events[1])
        scope = Scope("behaviour_events", YEAR)
        steps = [step async for step in session.changes(scope, end.changes_cursor, timedelta(minutes=5))]
    assert [row["comment"] for step in steps for row in step.rows] == ["Said sorry"]
    [deleted] = [key for step in steps for key in step.deleted]
    assert deleted.namespace == "wonde/behaviour"
    assert [step.end for step in steps][-1]
    assert steps[-1].cursor > end.changes_cursor


async def test_rows_by_key_are_asked_for_by_id_alone(wonde: Wonde) -> None:
    async with wonde.session() as session:
        keys = [
            SourceKey("wonde/student", ("../../A1/students",)),
            SourceKey("wonde/student", ("A1000000001", "A2")),
            SourceKey("wonde/employee", ("A1000000001",)),
            SourceKey("wonde/student", ("A1000000001",)),
        ]
        rows = await session.read_back(Scope("students", YEAR), keys)
    assert [row["id"] for row in rows] == ["A1000000001"]
    assert wonde.api.log.total == 1
