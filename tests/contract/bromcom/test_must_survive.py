"""Those of the ten points of "What a connector must survive" for which it takes a MIS."""

from __future__ import annotations

import pytest

from schoolgate_sdk import CountRows, ReadChanges
from schoolgate_sdk.reading import ReceiveEvents
from tests.contract.bromcom.conftest import CONNECTOR, Mis, read_all


async def test_6_people_without_consent_do_not_come_and_nothing_says_that_they_are_gone(mis: Mis) -> None:
    """Their absence has no reason here: rows are fewer, the end is proven, and no row marks a deletion."""
    session = await mis.session()
    pupil = next(iter(mis.world.pupils))
    of_pupil = {"students": "studentId", "contacts": "studentId", "attendance_marks": "studentId"}
    before = {name: await read_all(session, name) for name in of_pupil}
    mis.school.apply({"op": "withdraw_consent", "pupil": pupil})
    for name, column in of_pupil.items():
        rows, end = await read_all(session, name)
        assert (end.terminator_proven, end.contradiction) == (True, None)
        assert [row for row in before[name][0] if row[column] != pupil] == rows
    scope_rows, _ = await read_all(session, "group_memberships")
    assert mis.world.pupils[pupil].person_number not in {row["personID"] for row in scope_rows}
    mis.school.apply({"op": "grant_consent", "pupil": pupil})
    for name in of_pupil:
        assert (await read_all(session, name))[0] == before[name][0]


async def test_9_no_change_feed_is_claimed(mis: Mis) -> None:
    session = await mis.session()
    assert not isinstance(session, ReadChanges | ReceiveEvents | CountRows)
    assert not CONNECTOR.capabilities & {"changes", "events", "count"}


@pytest.mark.parametrize("dataset", [dataset.name for dataset in CONNECTOR.datasets])
async def test_10_a_truncated_page_is_no_end(mis: Mis, dataset: str) -> None:
    """In every dataset, whatever its size, a first page that lost its second half is contradicted."""
    entity = CONNECTOR.dataset(dataset).entities[0]
    session = await mis.session()
    whole, _ = await read_all(session, dataset)
    mis.fault(kind="truncate_page", entity=entity, page=0)
    rows, end = await read_all(session, dataset)
    assert len(rows) < len(whole)
    assert end.contradiction is not None
