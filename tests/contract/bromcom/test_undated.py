"""What has no date lies in no window, and is shown to the server all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import cast

import pytest

from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_sdk.testing.world import World
from tests.contract.bromcom.conftest import DEFAULTS, StartMis, read_all

BEGINS, ENDS = date(2026, 9, 1), date(2027, 9, 1)
_UNKNOWN = cast("date", None)
"""A day that the world's types do not allow to be missing."""


@pytest.mark.parametrize("surface", ["partner", "soap"])
async def test_g09_results_without_a_date_are_read_whatever_the_window(
    start_mis: StartMis, monkeypatch: pytest.MonkeyPatch, surface: str
) -> None:
    """Seen to fail where the window's filter left them out: nobody was told of them."""
    world = World.build(seed=11, pupils=20, marks_until=date(2026, 10, 30))
    number, known = next(iter(world.assessments.items()))
    undated_too = {**world.assessments, number: replace(known, entered_on=_UNKNOWN)}
    monkeypatch.setattr(World, "assessments", undated_too)
    mis = await start_mis(world, tidy=True, surface=surface)
    session = await mis.session()
    rows, _ = await read_all(session, "assessment_results", BEGINS, ENDS)
    nothing, _ = await read_all(session, "assessment_results", ENDS, ENDS)
    [results] = [dataset for dataset in DATASETS if dataset.name == "assessment_results"]
    messages = [parsed.message for row in rows for parsed in results.parser(row, DEFAULTS)]
    assert len(messages) == len(world.assessments)
    [undated] = [
        message
        for message in messages
        if isinstance(message, AssessmentResult) and not message.HasField("entered_on")
    ]
    assert undated.result == known.result
    assert len(nothing) == 1
