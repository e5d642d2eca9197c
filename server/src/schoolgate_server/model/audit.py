"""A person's decision, as the audit keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class AuditEntry(NamedTuple):
    """One decision of a person; ``digest`` tells its request from others, ``result`` is the answer it got.

    Without a result it is an intent: it is being carried out, or its server died and nobody knows how far it
    came; ``basis``, opaque, says how that stood which it is about when it was taken. One that was ``refused``
    has changed nothing.
    """

    school_id: str
    request_id: str
    digest: bytes
    action: str
    subject: str
    by: str
    at: datetime
    comment: str
    result: bytes | None = None
    basis: str = ""
    refused: bool = False
