"""What a profile makes of samples."""

from __future__ import annotations

import pytest

from bench import profile

LINES = [
    "main (app.py:1);Handle._run (asyncio/events.py:80);sync (runner.py:5);parse (parser.py:7) 6",
    "main (app.py:1);Handle._run (asyncio/events.py:80);sync (runner.py:9) 2",
    "main (app.py:1);_run_once (asyncio/base_events.py:5) 2",
]


def test_lines_of_one_function_belong_together() -> None:
    assert profile.parse(LINES) == {
        ("sync (runner.py)", "parse (parser.py)"): 6,
        ("sync (runner.py)",): 2,
        ("main (app.py)", "_run_once (asyncio/base_events.py)"): 2,
    }


def test_shares_are_of_all_samples() -> None:
    shares = {name: (within, top) for name, within, top in profile.shares(profile.parse(LINES))}
    assert shares["sync (runner.py)"] == pytest.approx((0.8, 0.2))
    assert shares["parse (parser.py)"] == pytest.approx((0.6, 0.6))


def test_a_function_that_calls_itself_counts_once() -> None:
    [(name, within, top)] = profile.shares({("walk (tree.py)", "walk (tree.py)"): 3})
    assert (name, within, top) == ("walk (tree.py)", 1.0, 1.0)
