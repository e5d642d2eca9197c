"""Faults strike every dataset: a connector that is wrong in one alone, and not the longest, is found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from schoolgate_sdk import Page, Scope
from schoolgate_sdk.testing.conformance import kit, loading
from schoolgate_sdk.testing.conformance.outcome import Outcome
from schoolgate_sdk.testing.conformance.places import places
from tests.conformance import wrong_sessions as sessions
from tests.conformance.toy_connector import ToySession
from tests.conformance.wrong import with_session

SHORT = "subject"
"""A dataset of one page, and neither the first nor the last."""

WRONG: dict[str, type[ToySession]] = {
    "wire.slow": sessions.GivesUp,
    "wire.rate_limit": sessions.GivesUp,
    "wire.registration_hour": sessions.GivesUp,
    "wire.expire_credentials": sessions.GivesUp,
    "wire.late": sessions.Untyped,
    "wire.cut": sessions.Untyped,
    "wire.reset": sessions.Untyped,
    "wire.status": sessions.Untyped,
    "wire.invalid_json": sessions.Untyped,
    "wire.success_false": sessions.Untyped,
    "wire.null_data": sessions.Untyped,
    "wire.truncate_page": sessions.AlwaysProven,
    "wire.duplicate_rows": sessions.LosesDoubles,
    "wire.padded_rows": sessions.Unpadded,
    "wire.other_school": sessions.AnySchool,
}
ELSEWHERE = {"wire.loop_page", "wire.mark_change"}
"""They take a dataset of several pages, or of marks."""


def only_in(entity: str, wrong: type[ToySession]) -> type[ToySession]:
    """Return a session that is wrong where it reads one dataset."""

    class OnlyThere(ToySession):
        async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
            there = (
                wrong(self.mis, self.connection)
                if scope.dataset == entity
                else ToySession(self.mis, self.connection)
            )
            async for page in there.read(scope, cursor):
                yield page

    return OnlyThere


def test_each_check_of_the_wire_is_tried() -> None:
    wire = {check.id for check in kit.CHECKS if check.id.startswith("wire.")}
    assert WRONG.keys() == wire - ELSEWHERE


@pytest.mark.parametrize("check", WRONG)
def test_what_is_wrong_in_one_short_dataset_is_found_out(check: str) -> None:
    """Seen to pass, all of them, with faults that strike the longest dataset alone."""
    [bench] = kit.benches(with_session(only_in(SHORT, WRONG[check])))
    result = kit.run_check(bench, kit.check_named(check))
    assert result.outcome is Outcome.FAILED, result.detail
    assert SHORT in result.detail


def test_entities_that_are_asked_for_are_struck_as_well_as_the_first_one() -> None:
    [bench] = kit.benches(loading.load("wonde"))
    found = [str(place) for place in asyncio.run(places(bench))]
    assert "groups (groups)" in found
    assert "attendance_marks (attendance/lesson)" in found
    assert "students (year)" not in found, "it nests in what is asked for"
