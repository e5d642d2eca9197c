"""Records made of nothing but what an answer looks at."""

from __future__ import annotations

import itertools
from typing import Any

from schoolgate.v1.record_pb2 import Record, TombstoneReason
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_server.model.codes import resolve_meanings

MEANINGS = resolve_meanings({})
_numbers = itertools.count(1)


def record(
    kind: str, record_id: str = "", left: TombstoneReason.ValueType | None = None, **body: Any
) -> Record:
    """Return a record of ``kind``; codes get their default meanings, as the server gives them."""
    info = KINDS_BY_NAME[kind]
    made = Record(id=record_id or f"{info.prefix}_{next(_numbers):032x}", kind=info.kind)
    message = getattr(made, kind)
    message.SetInParent()
    for name, value in body.items():
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    for code, meaning in info.coded.items():
        known = MEANINGS[info.kind].get(code, {}).get(body.get(code, ""))
        if known is not None:
            setattr(message, meaning, known)
    if left is not None:
        made.tombstone.reason = left
    return made


def mark(student: str, day: str, session: int, code: str | None = "/", **more: Any) -> Record:
    coded: dict[str, Any] = {} if code is None else {"code": code}
    return record("attendance_mark", student_id=student, date=day, session=session, **coded, **more)


def enrolment(student: str, status: str, begins: str = "2026-09-01", ends: str = "", **more: Any) -> Record:
    span: dict[str, Any] = {"valid_from": begins, **({"valid_to": ends} if ends else {})}
    return record("enrolment", student_id=student, status_code=status, **span, **more)
