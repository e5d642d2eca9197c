"""Where the time comes from: always passed in, so that whole histories can be simulated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns the present moment, timezone-aware, in UTC."""


def system_clock() -> datetime:
    """Return the machine's present moment in UTC, cut to the milliseconds that MongoDB keeps."""
    now = datetime.now(UTC)  # noqa: TID251 - the one place where the real clock is read
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
