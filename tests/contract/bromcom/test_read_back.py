"""Rows are found again by their keys, so that an absence can be checked before it is believed."""

from __future__ import annotations

import pytest

from schoolgate_sdk import ReadBack, RowRejected, Scope, SourceKey, Unsupported
from tests.contract.bromcom.conftest import CONNECTOR, Mis, read_all


@pytest.mark.parametrize("dataset", [dataset.name for dataset in CONNECTOR.datasets])
async def test_every_key_of_a_snapshot_is_found_again(mis: Mis, dataset: str) -> None:
    session = await mis.session()
    assert isinstance(session, ReadBack)
    parser = CONNECTOR.dataset(dataset).parser
    rows, _ = await read_all(session, dataset)
    keys = {parsed.key for row in rows for parsed in parser(row, mis.settings)}
    asked = sorted(keys, key=repr)[:90]
    found = await session.read_back(Scope(dataset, "2026/27"), asked)
    found_keys = {parsed.key for row in found for parsed in parser(row, mis.settings)}
    assert set(asked) <= found_keys
    for row in found:
        assert row in rows
        assert {parsed.key for parsed in parser(row, mis.settings)} & set(asked)


async def test_what_is_not_there_is_left_out(mis: Mis) -> None:
    session = await mis.session()
    pupil = next(iter(mis.world.pupils))
    keys = [SourceKey("bromcom/student", (pupil,)), SourceKey("bromcom/student", (999_999,))]
    found = await session.read_back(Scope("students", "2026/27"), keys)
    assert {row["studentId"] for row in found} == {pupil}
    assert await session.read_back(Scope("students", "2026/27"), []) == []


@pytest.mark.parametrize("parts", [("x",), ("2026-13-01",), ("'; DROP TABLE Students--",), ("\0",)])
async def test_nothing_is_found_under_a_key_that_cannot_be_one_and_the_others_are(
    mis: Mis, parts: tuple[str, ...]
) -> None:
    session = await mis.session()
    pupil = next(iter(mis.world.pupils))
    keys = [SourceKey("bromcom/student", parts), SourceKey("bromcom/student", (pupil,))]
    found = await session.read_back(Scope("students", "2026/27"), keys)
    assert {row["studentId"] for row in found} == {pupil}


async def test_a_period_is_told_from_the_others_of_its_day(mis: Mis) -> None:
    session = await mis.session()
    mark = next(mis.world.marks())
    key = SourceKey("bromcom/attendance", (mark.pupil, mark.date.isoformat(), "PM"))
    found = await session.read_back(Scope("attendance_marks", "2026/27"), [key])
    assert {row["periodDisplayName"].strip() for row in found} == {"PM"}


async def test_two_hundred_keys_fit_into_addresses_that_servers_take(mis: Mis) -> None:
    """IIS refuses query strings beyond 2,048 characters unless it is told otherwise."""
    marks = list(mis.world.marks())[:200]
    keys = [
        SourceKey("bromcom/attendance", (9_000_000 + mark.pupil, mark.date.isoformat(), mark.session))
        for mark in marks
    ]
    session = await mis.session()
    assert await session.read_back(Scope("attendance_marks", "2026/27"), keys) == []
    assert len(await session.read_back(Scope("group_memberships", "2026/27"), _membership_keys())) == 0


def _membership_keys() -> list[SourceKey]:
    return [
        SourceKey("bromcom/collection_associate", (9_000_000 + n, 9_000_000 + n, "2026-09-01"))
        for n in range(200)
    ]


async def test_a_row_that_cannot_be_taken_over_is_there_all_the_same(
    mis: Mis, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await mis.session()
    pupil = next(iter(mis.world.pupils))
    key = SourceKey("bromcom/student", (pupil,))
    plain = mis.school.page

    def spoiled(*arguments: object) -> object:
        page = plain(*arguments)  # type: ignore[arg-type]  # handed on as they came
        return page._replace(text=page.text.replace(b'"ealFlag":"No', b'"ealFlag":"Perhaps'))

    monkeypatch.setattr(mis.school, "page", spoiled)
    found = await session.read_back(Scope("students", "2026/27"), [key])
    assert {row["studentId"] for row in found} == {pupil}
    parser = CONNECTOR.dataset("students").parser
    if found[0]["ealFlag"] == "Perhaps":
        with pytest.raises(RowRejected):
            list(parser(found[0], mis.settings))


async def test_a_key_of_another_dataset_is_refused(mis: Mis) -> None:
    session = await mis.session()
    with pytest.raises(Unsupported, match="no keys"):
        await session.read_back(Scope("staff", "2026/27"), [SourceKey("bromcom/student", (1,))])
