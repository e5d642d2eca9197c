"""Changes are doubted as full reads are, for a position that was passed is never gone back to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from schoolgate_sdk import ChangedRows, Incomplete, RowRejected, Scope, SourceKey
from schoolgate_wonde.datasets import BY_NAME, DATASETS
from schoolgate_wonde.plugin import WondeSession
from schoolgate_wonde.simulator.entities import Entity
from schoolgate_wonde.simulator.school import Row
from tests.contract.wonde.conftest import DEFAULTS, Wonde

FOLLOWED = [dataset.name for dataset in DATASETS if dataset.follows_changes]


async def changed(
    session: WondeSession, wonde: Wonde, dataset: str, into: list[ChangedRows] | None = None
) -> list[ChangedRows]:
    """Follow the changes of the last forty days, in which everything in the simulator came to be."""
    steps: list[ChangedRows] = [] if into is None else into
    since = (wonde.clock() - timedelta(days=40)).isoformat()
    async for step in session.changes(Scope(dataset, "2026/2027"), since, timedelta(0)):
        steps.append(step)  # noqa: PERF401 - what came before an error is looked at
    return steps


def deletion(when: datetime, **given: Any) -> Row:
    return Row(Entity(given), when)


@pytest.mark.parametrize(
    ("fault", "page"), [("truncate_page", 0), ("loop_page", 0)], ids=["a short page", "a page that loops"]
)
@pytest.mark.parametrize("resource", ["attendance/session", "deletions"])
async def test_g01_no_position_is_told_beyond_a_page_that_is_doubted(
    wonde: Wonde, monkeypatch: pytest.MonkeyPatch, resource: str, fault: str, page: int
) -> None:
    """Seen to fail where nothing but the number of a page was looked at: the changes ended well."""
    gone = [deletion(wonde.clock(), id=f"A{number}", type="room") for number in range(50)]
    monkeypatch.setattr(wonde.school, "deletions", lambda: gone)
    wonde.fault(fault, entity=resource, page=page, times=None)
    steps: list[ChangedRows] = []
    async with wonde.session() as session:
        with pytest.raises(Incomplete) as doubted:
            await changed(session, wonde, "attendance_marks", steps)
    assert doubted.value.entity == resource
    assert not any(step.cursor or step.end for step in steps)


@pytest.mark.parametrize("keep", [0, 3])
async def test_g01_a_last_page_that_was_cut_short_is_made_good_by_a_second_look(
    wonde: Wonde, keep: int
) -> None:
    """Seen to fail without the second look: what was cut off was passed over."""
    wonde.fault("truncate_page", entity="students", page=1, keep=keep)
    async with wonde.session() as session:
        steps = await changed(session, wonde, "students")
    assert len({row["id"] for step in steps for row in step.rows}) == 30
    assert steps[-1].end


async def test_a_last_page_that_is_never_the_same_is_doubted(
    wonde: Wonde, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grown() -> list[Row]:
        gone.append(deletion(wonde.clock(), id=f"A{len(gone)}", type="room"))
        return gone

    gone: list[Row] = []
    monkeypatch.setattr(wonde.school, "deletions", grown)
    async with wonde.session() as session:
        with pytest.raises(Incomplete, match="whenever"):
            await changed(session, wonde, "rooms")


@pytest.mark.parametrize(
    "given",
    [
        {"id": "A1000000001", "type": None},
        {"id": "A1000000001", "type": 7},
        {"id": "A1000000001", "type": "spaceship"},
        {"id": "A1000000001"},
        {"note": "A1000000001"},
    ],
)
@pytest.mark.parametrize("dataset", FOLLOWED)
async def test_g09_a_deletion_of_nobody_knows_what_is_refused_in_every_dataset(
    wonde: Wonde, monkeypatch: pytest.MonkeyPatch, dataset: str, given: Mapping[str, Any]
) -> None:
    """Seen to fail where it was passed over."""
    gone = [deletion(wonde.clock(), **given)]
    monkeypatch.setattr(wonde.school, "deletions", lambda: gone)
    async with wonde.session() as session:
        *_, last = await changed(session, wonde, dataset)
    assert last.end
    assert not last.deleted
    [row] = last.rows
    with pytest.raises(RowRejected, match="not what") as refused:
        list(BY_NAME[dataset].parser(row, DEFAULTS))
    assert refused.value.key is None


@pytest.mark.parametrize("identifier", [None, "", 17, ["A1"], "A" * 101])
async def test_g09_a_deletion_without_an_id_is_refused_where_it_belongs_and_the_others_count(
    wonde: Wonde, monkeypatch: pytest.MonkeyPatch, identifier: object
) -> None:
    gone = [
        deletion(wonde.clock(), id=identifier, type="room"),
        deletion(wonde.clock(), id="A2", type="Room"),
        deletion(wonde.clock(), id="A3", type="students-leaver"),
    ]
    monkeypatch.setattr(wonde.school, "deletions", lambda: gone)
    async with wonde.session() as session:
        *_, rooms = await changed(session, wonde, "rooms")
        *_, staff = await changed(session, wonde, "staff")
    assert (len(rooms.rows), rooms.deleted) == (1, [SourceKey("wonde/room", ("A2",))])
    assert (staff.rows, staff.deleted) == ([], [])
