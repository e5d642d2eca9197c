"""The records of a school beside the world that they are to show, and what an edit changed of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import record_pb2 as r
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import KINDS
from tests.support.bromcom_truth import Key, Shown, without_meanings
from tests.support.live import part_of

DATASET_OF = {
    kinds.KIND_STUDENT: "students",
    kinds.KIND_ENROLMENT: "students",
    kinds.KIND_ADMISSION: "students",
    kinds.KIND_CONTACT: "contacts",
    kinds.KIND_STUDENT_CONTACT: "contacts",
    kinds.KIND_STAFF: "staff",
    kinds.KIND_SUBJECT: "subjects",
    kinds.KIND_ROOM: "rooms",
    kinds.KIND_PERIOD: "periods",
    kinds.KIND_GROUP: "groups",
    kinds.KIND_GROUP_MEMBERSHIP: "group_memberships",
    kinds.KIND_STAFF_ASSIGNMENT: "staff_assignments",
    kinds.KIND_TIMETABLE_ENTRY: "timetable_entries",
    kinds.KIND_ATTENDANCE_MARK: "attendance_marks",
    kinds.KIND_LOCAL_CODE: "behaviour_types",
    kinds.KIND_BEHAVIOUR_EVENT: "behaviour_events",
    kinds.KIND_ASSESSMENT_RESULT: "assessment_results",
}
LEFT, UNKNOWN = r.TOMBSTONE_REASON_LEFT, r.TOMBSTONE_REASON_UNKNOWN_ABSENCE


@dataclass
class Look:
    """The world and the records at one moment: by the key that the world shows, else by their first one."""

    shown: dict[Key, Shown]
    records: dict[Key, Record]
    seq: int

    @classmethod
    def of(cls, shown: dict[Key, Shown], records: Iterable[Record], seq: int) -> Look:
        """Return the look at ``records``, each of which has a key of its own."""
        by_key: dict[Key, Record] = {}
        for record in records:
            keys = [key_of(key) for key in record.source_keys]
            key = next((key for key in keys if key in shown), keys[0])
            assert key not in by_key, f"two records are {key}"
            by_key[key] = record
        return cls(shown, by_key, seq)

    def ids(self) -> dict[Key, str]:
        """Return the record ids by every key of every record."""
        return {key_of(key): record.id for record in self.records.values() for key in record.source_keys}


@dataclass
class Changes:
    """The records that one edit changed, in their new state."""

    run: pb.Run
    created: list[Record] = field(default_factory=list[Record])
    updated: list[Record] = field(default_factory=list[Record])
    revived: list[Record] = field(default_factory=list[Record])
    left: list[Record] = field(default_factory=list[Record])

    def count(self) -> dict[str, dict[str, int]]:
        """Return how many records of each kind were created, updated, revived and left, zeros left out."""
        counted = {
            "created": _by_kind(self.created),
            "updated": _by_kind(self.updated),
            "revived": _by_kind(self.revived),
            "left": _by_kind(self.left),
        }
        return {what: by_kind for what, by_kind in counted.items() if by_kind}


def key_of(key: r.SourceKey) -> Key:
    return key.namespace, tuple(
        part.integer if part.WhichOneof("value") == "integer" else part.text for part in key.parts
    )


def _by_kind(records: Iterable[Record]) -> dict[str, int]:
    return dict(Counter(KINDS[record.kind].name for record in records))


def body_of(record: Record) -> Any:
    return getattr(record, KINDS[record.kind].name)


def assert_equals_the_world(look: Look) -> None:
    """Compare the live records with the world: the same keys, and field by field the same messages."""
    present = {key: one for key, one in look.records.items() if not one.HasField("tombstone")}
    assert present.keys() == look.shown.keys()
    ids = look.ids()
    for key, shown in look.shown.items():
        record = present[key]
        assert record.kind == shown.kind
        assert without_meanings(record.kind, body_of(record)) == shown.with_references(ids), key


def changes_between(before: Look, after: Look, run: pb.Run) -> Changes:
    """Return what changed, and show that it is what had to change, and that nothing else did."""
    changes = Changes(run)
    ids = after.ids()
    earlier = {one.id: (one, before.shown.get(key)) for key, one in before.records.items()}
    still = {one.id for one in after.records.values()}
    assert earlier.keys() <= still, "a record is gone without a tombstone"
    for key, now in after.records.items():
        was, shown_before = earlier.get(now.id, (None, None))
        shown = after.shown.get(key)
        if was is None:
            assert (now.version, now.HasField("tombstone")) == (1, False)
            changes.created.append(now)
        elif shown is None and shown_before is None:
            assert now == was
            continue
        elif shown is None:
            assert now.tombstone.reason == _reason(before, was)
            assert body_of(now) == body_of(was)
            changes.left.append(now)
        elif shown_before is None:
            assert was.HasField("tombstone")
            assert not now.HasField("tombstone")
            changes.revived.append(now)
        elif shown.with_references(ids) == shown_before.with_references(ids) and key in before.records:
            assert now == was
            continue
        else:
            changes.updated.append(now)
        assert now.version == (was.version + 1 if was else 1)
        assert now.run_id == run.run_id
        assert before.seq < now.seq <= after.seq == run.seq_after
        assert was is None or (was.id, was.kind) == (now.id, now.kind)
    return changes


def _reason(before: Look, record: Record) -> r.TombstoneReason.ValueType:
    """Return why ``record`` left: the MIS said so if its span, or the pupil's enrolments, had an end."""
    today = datetime.now(UTC).date().isoformat()
    if record.kind == kinds.KIND_STUDENT:
        ends = [
            one.enrolment.valid_to
            for one in before.records.values()
            if one.kind == kinds.KIND_ENROLMENT
            and one.enrolment.student_id == record.id
            and not one.HasField("tombstone")
        ]
    else:
        ends = [getattr(body_of(record), "valid_to", "")]
    return LEFT if all(end and end <= today for end in ends) else UNKNOWN


def assert_counters(changes: Changes) -> None:
    """Compare what the run says of itself with what it did."""
    for name in set(DATASET_OF.values()):
        part = part_of(changes.run, name)

        def of_part(records: Iterable[Record], name: str = name) -> int:
            return sum(DATASET_OF[record.kind] == name for record in records)

        told = (part.created, part.updated, part.revived, part.tombstoned)
        happened = (changes.created, changes.updated, changes.revived, changes.left)
        assert told == tuple(map(of_part, happened)), name
