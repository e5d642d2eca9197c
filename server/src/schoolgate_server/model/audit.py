"""A person's decision, as the audit keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class AuditEntry(NamedTuple):
    """One decision of a person; ``digest`` tells its request from others, ``result`` is the answer it got."""

    school_id: str
    request_id: str
    digest: bytes
    action: str
    subject: str
    by: str
    at: datetime
    comment: str
    result: bytes
