"""What was used last stays."""

from __future__ import annotations

from schoolgate_server.model.recent import Recent


def test_what_was_used_last_is_kept() -> None:
    """Seen to fail where what was kept first goes first, used or not."""
    kept = Recent[str, int](2)
    kept.keep("a", 1)
    kept.keep("b", 2)
    assert kept.get("a") == 1
    kept.keep("c", 3)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    kept.keep("a", 4)
    assert (kept.get("a"), kept.get("c")) == (4, 3)
