"""Whole histories from seeds: see the module ``history``.

What shows each guarantee, and mutations that were seen to be caught, each with the first seed that caught it.
New kinds of draws move the seeds; ``scripts/mutants.py`` tries most of these again.

* G01 ``Model._verify_dataset``, ``Judge``: an unproven end counts as the end (6); a window is compared
  with the whole year (0).
* G02 ``Judge``: no rows prove that all have left (0); no drop is suspect (0); a window that was sealed
  forgets what is held (50).
* G03 ``comparing.repeat``, ``Model._verify_choice``: the last of conflicting rows wins (28).
* G04 ``chain_of``, ``World.recreate``: a record that returns is not revived (12); pupils that were merged
  at the MIS only leave (4).
* G05 ``Model.identify``, ``People``, ``World.run_parts_together``: keys are joined text (0); a
  row is another record though its entity is one already (5248).
* G06 ``moments``: what a run wrote before it was interrupted can be deleted by it (9).
* G07 ``overtaking``: a resumed run writes older rows over newer ones (1); what others wrote since can be
  absent from it (1).
* G08 ``Causes``, ``change_reading``: rows are not read anew before the MIS is asked (0); what that
  changes is told as the school's edit (3), or by the feed as one (0).
* G09 ``Decisions``, ``counters``: findings are dropped (0).
* G10 ``comparing.compare_undisturbed``, the crashes of ``handle``: an interrupted commit always counts as
  written (3); retained rows are not replayed (6); counters do not survive (6); a reading counts as
  complete before its last record is written (39). ``Positions``: a position that the MIS
  does not know any more stands for no changes (1); a window stores its position (4); an open hold is
  ignored (96).
* G12 ``Stage.ask``: a version is still there at the moment that ended it (0). ``Asker``: what was committed
  at known_at is not known then, a seq (0) or a time (0; of the latest commit: 3); a span ends after its last
  day (2), or begins after its first (1).
* G13 ``Following``: a cursor goes on before its page is whole (0); nobody is told who left (0); a follower
  keeps those who left (0); what a commit in the making covers up is not told (1), or the commit shows (1).
* G14 ``step_down`` of ``handle`` undoes what is open and keeps what was acknowledged; at the commits of
  ``moments``: a commit which nobody confirmed counts as done (4).
* G15 ``last_words`` of ``handle``: a chunk passes no fence (11). A rival server: a lease is taken while
  somebody holds it (6).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.blocks import play_block
from tests.simulation.history import play


def test_histories_keep_every_guarantee(seeds: range, record_property: Callable[[str, object], None]) -> None:
    play_block(seeds, play, "simulated", record_property)


def test_a_seed_is_always_the_same_history() -> None:
    assert play(7) == play(7)
