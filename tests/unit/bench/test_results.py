"""Figures: what they are made of, and that what is written is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import results


def test_a_ratio_is_that_of_the_medians() -> None:
    figure = results.ratio("x", [1, 2, 30, 4, 5], [10, 10, 10, 10, 100], sides="s: a, b", goal=0.5)
    assert (figure.value, figure.ours, figure.reference, figure.runs) == (0.4, 4, 10, 5)


@pytest.mark.parametrize(
    ("ours", "reference"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])]
)
def test_a_ratio_takes_pairs_and_five_of_them(ours: list[float], reference: list[float]) -> None:
    with pytest.raises(AssertionError):
        results.ratio("x", ours, reference, sides="s: a, b", goal=0.5)


def test_a_goal_is_reached_from_its_own_side() -> None:
    assert results.absolute("x", [2], unit="s", goal=2).reached
    assert not results.absolute("x", [1.9], unit="s", goal=2).reached
    assert results.absolute("x", [2], unit="s", goal=2, better="lower").reached
    assert not results.absolute("x", [2.1], unit="s", goal=2, better="lower").reached


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    figures = [
        results.ratio("x", [1, 2, 3, 4, 5], [1, 1, 1, 1, 1], sides="s: a, b", goal=0.5, details={"a": 1.5}),
        results.absolute("y", [2], unit="s", goal=2, better="lower"),
    ]
    results.write(path, figures, {"cores": 2}, {"pupils": 5})
    assert results.read(path) == (figures, {"cores": 2}, {"pupils": 5})
