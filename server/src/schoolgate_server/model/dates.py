"""When a record is valid, as its message says."""

from __future__ import annotations

from google.protobuf.message import Message

from schoolgate_sdk import KindInfo


def validity(info: KindInfo, message: Message) -> tuple[str | None, str | None]:
    """Return the half-open span of a message as ISO dates; a one-day kind has its day as the beginning."""
    if info.on is not None:
        day: str = getattr(message, info.on)
        return day[:10] or None, None
    if info.is_span:
        begins: str = getattr(message, "valid_from", "")
        ends: str = getattr(message, "valid_to", "")
        return begins or None, ends or None
    return None, None
