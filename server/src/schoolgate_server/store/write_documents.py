"""Documents of the ledger: what stands in them as it is, what is sealed, and how large they may become."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import OPEN, SealedContent, WriteEntry
from schoolgate_server.store.handles import Document
from schoolgate_server.store.vault import RowSeal

FIRST_ATTEMPTS, LAST_ATTEMPTS = 5, 45
"""Attempts that are kept: how it began, and how it stands. Each keeps its number."""

CONTENT_BYTES = 64 * 1024
"""Of what an attempt sent, and of what the MIS answered: fifty attempts stay far below MongoDB's 16 MB."""

TARGET_BYTES = 1024
"""Of an attempt's target."""

_MADE = 0
"""Number, among those of the attempts, of the sealed content that says what came to be, and the task."""

_OPTIONAL = ("due_at", "student", "mis_ids", "records", "keys")
"""Fields that a document has only where there is something in them, for the sake of partial indexes."""


def new_document(entry: WriteEntry, operation: bytes, contents: list[Document]) -> Document:
    """Return the document of a write that is new; ``operation`` and ``contents`` are sealed."""
    write = entry.write
    return {
        "_id": write.write_id,
        "school": write.school_id,
        "environment": write.environment,
        "operation": write.operation_name,
        "key": write.idempotency_key,
        "submitted_at": write.submitted_at.ToDatetime(tzinfo=UTC),
        "submitted_by": write.submitted_by,
        "slot": entry.slot,
        "sealed": operation,
        **changing(entry, contents),
    }


def changing(entry: WriteEntry, contents: list[Document]) -> Document:
    """Return the fields that change in the life of a write."""
    write = entry.write
    fields: Document = {
        "state": state_name(write.state),
        "open": write.state in OPEN,
        "awaits_approval": write.needs_approval and not write.approved_by,
        "position": entry.position,
        "student": entry.student_id,
        "due_at": entry.due_at,
        "updated_at": write.updated_at.ToDatetime(tzinfo=UTC),
        "revision": write.revision,
        "mis_ids": list(write.mis_ids),
        "records": list(write.record_ids),
        "keys": [key_digest(write.school_id, key) for key in entry.keys],
        "sending_until": entry.sending_until,
        "first_left_at": entry.first_left_at,
        "settles_at": entry.settles_at,
        "found": entry.found,
        "seq_sent": entry.seq_sent,
        "looks": entry.looks,
        "sent_to": entry.sent_to,
        "voided": entry.voided,
        "vouched": entry.vouched,
        "requeued_at": entry.requeued_at,
        "wire": _in_plain(write),
        "sealed_attempts": contents,
    }
    return {name: value for name, value in fields.items() if value or name not in _OPTIONAL}


def change_of(entry: WriteEntry, contents: list[Document]) -> Document:
    """Return the update that stores ``entry`` in place of what is there."""
    fields = changing(entry, contents)
    gone = [name for name in _OPTIONAL if name not in fields]
    return {"$set": fields, "$unset": dict.fromkeys(gone, "")} if gone else {"$set": fields}


async def read_entry(document: Document, seal: RowSeal) -> WriteEntry:
    """Return the write that a document holds, with everything unsealed.

    It has no operation where what was sealed has been taken out, as after the loss of the master key.

    Raises:
        ServiceError: VAULT_UNAVAILABLE where it cannot be decrypted.
    """
    write = pb.Write.FromString(document["wire"])
    school_id: str = document["school"]
    if "sealed" in document:
        write.operation.ParseFromString(await seal.unseal(school_id, document["sealed"]))
    write.revision = document["revision"]  # what makes a write due again changes no more than this
    attempts = {attempt.number: attempt for attempt in write.attempts}
    kept: dict[int, SealedContent] = {}
    keys: list[str] = []
    for content in document["sealed_attempts"]:
        plain = await seal.unseal(school_id, content["sealed"])
        kept[content["n"]] = SealedContent(plain, content["sealed"])
        if content["n"] == _MADE:
            write.task, keys = orjson.loads(plain)
        else:
            attempts[content["n"]].MergeFromString(plain)
    return WriteEntry(
        write,
        slot=document["slot"],
        position=document["position"],
        student_id=document.get("student", ""),
        due_at=document.get("due_at"),
        sending_until=document["sending_until"],
        first_left_at=document["first_left_at"],
        settles_at=document["settles_at"],
        keys=keys,
        found=document["found"],
        seq_sent=document["seq_sent"],
        looks=document["looks"],
        sent_to=document["sent_to"],
        voided=document.get("voided", 0),
        vouched=document.get("vouched", False),
        requeued_at=document.get("requeued_at"),
        sealed=kept,
    )


async def sealed_contents(entry: WriteEntry, seal: RowSeal) -> list[Document]:
    """Return what the attempts sent and were answered, the keys of what came to be, and the task, sealed.

    Keys, and a task that names them, are a pupil's number, an assessment, a year group. Only what is new of
    it all is encrypted.
    """
    contents = {attempt.number: _content(attempt) for attempt in entry.write.attempts}
    if entry.keys or entry.write.task:
        contents[_MADE] = orjson.dumps([entry.write.task, entry.keys])
    kept: dict[int, SealedContent] = {}
    for number, plain in contents.items():
        if not plain:
            continue
        before = entry.sealed.get(number)
        if before is None or before.plain != plain:
            before = SealedContent(plain, await seal.seal(entry.school_id, plain))
        kept[number] = before
    entry.sealed = kept
    return [{"n": number, "sealed": content.sealed} for number, content in kept.items()]


def bound(write: pb.Write) -> None:
    """Cut what would let the document grow without end, and say so where something is cut."""
    if len(write.attempts) > FIRST_ATTEMPTS + LAST_ATTEMPTS:
        del write.attempts[FIRST_ATTEMPTS:-LAST_ATTEMPTS]
    for attempt in write.attempts:
        attempt.response = _cut(attempt.response, CONTENT_BYTES)
        if attempt.HasField("sent"):
            attempt.sent.target = _cut(attempt.sent.target, TARGET_BYTES)
            attempt.sent.body = _cut(attempt.sent.body, CONTENT_BYTES)


def key_digest(school_id: str, key: str) -> str:
    """Return what is stored of an encoded source key, to be found by it."""
    return hashlib.sha256(f"{school_id}\n{key}".encode()).hexdigest()


def state_name(state: pb.WriteState.ValueType) -> str:
    """Return how a state stands in documents."""
    return pb.WriteState.Name(state)


def held_after(after: tuple[datetime, str]) -> Mapping[str, Any]:
    """Return the filter of what comes after a write's time and id, newest first.

    It has no alternatives, each of which MongoDB might read by an index of its own, and then sort.
    """
    at, write_id = after
    return {"submitted_at": {"$lte": at}, "$nor": [{"submitted_at": at, "_id": {"$gte": write_id}}]}


def _in_plain(write: pb.Write) -> bytes:
    """Return a write, serialised, without what is sealed apart."""
    plain = pb.Write()
    plain.CopyFrom(write)
    plain.ClearField("operation")
    plain.ClearField("task")
    for attempt in plain.attempts:
        attempt.ClearField("sent")
        attempt.ClearField("response")
    return plain.SerializeToString()


def _content(attempt: pb.WriteAttempt) -> bytes:
    content = pb.WriteAttempt(response=attempt.response)
    if attempt.HasField("sent"):
        content.sent.CopyFrom(attempt.sent)
    return content.SerializeToString(deterministic=True)


def _cut(text: str, most: int) -> str:
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    mark = f"… [cut; {len(encoded)} bytes in all]"
    return encoded[: most - len(mark.encode())].decode(errors="ignore") + mark
