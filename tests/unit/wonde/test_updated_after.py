"""Positions in time as Wonde takes them: without an offset, and never later than they are meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from schoolgate_wonde.client import updated_after_text

LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    "begins", [datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)]
)
def test_however_a_clock_change_is_read_nothing_lies_before_the_position(begins: datetime) -> None:
    """Seen to fail with the local time as it is: of the hour that comes twice Wonde may take the later."""
    for minutes in range(0, 6 * 60, 10):
        moment = begins + timedelta(minutes=minutes)
        told = datetime.fromisoformat(updated_after_text(moment, LONDON)).replace(tzinfo=LONDON)
        for fold in (0, 1):
            read = told.replace(fold=fold).astimezone(UTC)
            assert moment - timedelta(hours=2) <= read <= moment


def test_at_any_other_time_it_is_the_local_time() -> None:
    assert updated_after_text(datetime(2026, 9, 21, 8, 0, 5, tzinfo=UTC), LONDON) == "2026-09-21 09:00:05"
