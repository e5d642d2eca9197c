"""Whole histories of writes from seeds: at most one effect per key (G11), and nothing after OFF (G19).

See the module ``history`` of this folder. An ordinary test run plays 48 seeds; ``make simulate`` plays as
many as it is told to. Mutations that were seen to be caught, each with the first seed that caught it; new
kinds of draws move the seeds, and ``scripts/mutants.py`` tries most of these again:

* a write is changed whatever it has become since it was read (25);
* a write leaves although its intent was not stored;
* nobody looks at the gate (4), or takes there a policy that was read long ago (16);
* what the MIS does not show yet counts as gone at once (3);
* what cannot be asked for is sent again (0);
* an attempt whose server died, or an error after a write has left, counts as not sent;
* writes about one thing overtake each other.

That the gate looks at an attempt's time is not shown here: a server that stands still closes its gates by
timers, which go on in a history. That what is found may be another write's is not shown within 48 seeds.
Tests of the dispatcher's own show both.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.blocks import play_block
from tests.simulation.virtual_time import run_virtually
from tests.simulation.writing.asked import EVENT, MARK, NOTE, RESULT
from tests.simulation.writing.beyond import beyond
from tests.simulation.writing.history import play


def test_g11_g19_writes_take_effect_once_and_none_after_off(
    seeds: range, record_property: Callable[[str, object], None]
) -> None:
    play_block(seeds, play, "written", record_property)


def test_a_seed_of_writing_is_always_the_same_history() -> None:
    first, second = play(5), play(5)
    assert (first.steps, first.counts) == (second.steps, second.counts)


@pytest.mark.parametrize(("late", "effects"), [(0.9, 1), (1.5, 2)])
def test_g11_rests_on_no_request_taking_effect_after_its_settling_time(late: float, effects: int) -> None:
    """What ADR 0016 assumes: a request that a proxy keeps for longer, unseen, is made good for by another.

    A MIS that heeds a key has one effect however late it is; see ``beyond`` for what is played.
    """
    assert run_virtually(lambda: beyond(RESULT, late)) == effects
    assert run_virtually(lambda: beyond(EVENT, late)) == effects
    assert run_virtually(lambda: beyond(MARK, late)) == 1
    assert run_virtually(lambda: beyond(NOTE, late)) == 1
