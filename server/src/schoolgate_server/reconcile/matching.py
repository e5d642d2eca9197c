"""Which entities of another MIS are which records of the school: by evidence, and never by guessing.

A kind has rules, the strongest first; a rule is a set of fields whose values, taken together, tell one
entity from all others. An entity and a record are one where they agree by a rule and nobody else on either
side has the same values. Weaker evidence counts only where one of the two lacks the stronger: a pupil of
the same name and birthday under another UPN is another pupil, or may be. What more than one fits stays
unmatched, on both sides.

Two million marks fit into memory because nothing is kept of them but digests and places in flat arrays: 20
to 24 bytes for a record, 33 to 49 for an entity, and for every value of a rule another 34 to 58.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import orjson
from google.protobuf.message import Message

from schoolgate.v1 import kind_pb2 as k
from schoolgate_server.model.ids import ID_BYTES, pack_id, unpack_id
from schoolgate_server.reconcile.evidence import plain
from schoolgate_server.reconcile.places import KEY_BYTES, Places

_OPEN, _MATCHED, _AMBIGUOUS = range(3)
_MANY = 2


class Rule(NamedTuple):
    """Fields that together tell one entity from all others: ``required`` ones have a value.

    Of ``optional`` fields, to have no value is a value too.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


RULES: Mapping[k.Kind.ValueType, tuple[Rule, ...]] = MappingProxyType(
    {
        k.KIND_SCHOOL: (Rule(("urn",)), Rule(("local_authority_number", "establishment_number"))),
        k.KIND_ACADEMIC_YEAR: (Rule(("valid_from", "valid_to")), Rule(("name",))),
        k.KIND_STUDENT: (Rule(("upn",)), Rule(("surname", "forename", "date_of_birth"))),
        k.KIND_STAFF: (
            # Offices share mailboxes, and people marry: the forename is what stays.
            Rule(("email", "forename")),
            Rule(("staff_code", "surname")),
            Rule(("surname", "forename")),
        ),
        # Names alone are too few here: an address of one parent must never become that of a namesake.
        k.KIND_CONTACT: (
            Rule(("email", "surname", "forename")),
            Rule(("telephone", "surname", "forename")),
        ),
        k.KIND_STUDENT_CONTACT: (Rule(("student_id", "contact_id"), ("valid_from",)),),
        k.KIND_SUBJECT: (Rule(("code",)), Rule(("name",))),
        # Last year's class of the same name begins on another day, which speaks against it.
        k.KIND_GROUP: (Rule(("name", "valid_from"), ("type",)), Rule(("name",), ("type",))),
        k.KIND_GROUP_MEMBERSHIP: (Rule(("group_id", "student_id"), ("valid_from",)),),
        k.KIND_STAFF_ASSIGNMENT: (Rule(("group_id", "staff_id"), ("role", "valid_from")),),
        k.KIND_ENROLMENT: (Rule(("student_id", "valid_from"), ("status",)),),
        k.KIND_ROOM: (Rule(("code",)), Rule(("name",))),
        k.KIND_PERIOD: (
            Rule(("weekday", "start_time", "end_time"), ("week", "type")),
            Rule(("name",), ("week", "weekday")),
        ),
        k.KIND_TIMETABLE_ENTRY: (
            Rule(("group_id", "period_id"), ("staff_id", "room_id", "is_cover", "valid_from")),
        ),
        k.KIND_ATTENDANCE_CODE: (Rule(("code", "valid_from")), Rule(("code",))),
        # The code is what gets corrected, so it is no evidence.
        k.KIND_ATTENDANCE_MARK: (Rule(("student_id", "date"), ("session", "period_name")),),
        k.KIND_ASSESSMENT_RESULT: (
            Rule(
                ("student_id", "assessment_name"), ("entered_on", "term_name", "subject_id", "subject_name")
            ),
        ),
        k.KIND_BEHAVIOUR_EVENT: (Rule(("student_id", "occurred_at"), ("type_code", "points")),),
        k.KIND_ADMISSION: (Rule(("student_id", "admitted_on")),),
        k.KIND_LOCAL_CODE: (Rule(("category", "code")),),
    }
)
"""Every kind, with what tells its entities apart across MISs; their keys never do."""


def rules_of(kind: k.Kind.ValueType, dropped: Container[str]) -> tuple[Rule, ...]:
    """Return the rules of ``kind`` that can be applied where the fields ``dropped`` are not kept."""
    return tuple(
        Rule(rule.required, tuple(field for field in rule.optional if field not in dropped))
        for rule in RULES[kind]
        if not any(field in dropped for field in rule.required)
    )


def described(rules: Sequence[Rule]) -> str:
    """Return the rules in words."""
    if not rules:
        return "nothing: the data profile keeps none of the fields that tell them apart"
    return ", else ".join(_listed((*rule.required, *rule.optional)) for rule in rules)


def _listed(fields: Sequence[str]) -> str:
    return " and ".join([*([", ".join(fields[:-1])] if fields[1:] else []), fields[-1]])


def evidence(
    rules: Sequence[Rule], message: Message, same: Mapping[str, str] | None = None
) -> list[bytes | None]:
    """Return a digest of the values for each rule, ``None`` where a required field has none.

    ``same`` maps record ids to those that stand for them on the other side.
    """
    return [_digest(rule, message, same or {}) for rule in rules]


def _digest(rule: Rule, message: Message, same: Mapping[str, str]) -> bytes | None:
    values = [_value(message, field, same) for field in (*rule.required, *rule.optional)]
    if None in values[: len(rule.required)]:
        return None
    return hashlib.blake2b(orjson.dumps(values), digest_size=KEY_BYTES).digest()


def _value(message: Message, field: str, same: Mapping[str, str]) -> str | int | None:
    if not message.HasField(field):
        return None
    value: str | int = getattr(message, field)
    if not isinstance(value, str):
        return value
    if field.endswith("_id"):
        return same.get(value, value)
    # Case and blanks are how somebody typed it, and no evidence of anything.
    return plain(value) or None


class Counts(NamedTuple):
    """What a matching came to: ``ambiguous`` counts both sides, so that everybody is counted once.

    ``created`` are entities that fit no record, ``left_over`` records that no entity fits.
    """

    live: int
    found: int
    matched: int
    ambiguous: int
    created: int
    left_over: int


class Matching:
    """The matching of one kind: first all entities of the other MIS, then all live records of the school."""

    def __init__(self, kind: k.Kind.ValueType, rules: Sequence[Rule]) -> None:
        self._kind = kind
        self.rules = tuple(rules)
        self._tables = [_Table() for _ in rules]
        self._entities = Places()
        self._entity_values = [array("I") for _ in rules]
        self._entity_states = bytearray()
        self._partners = array("I")
        self._records = bytearray()
        self._record_values = [array("I") for _ in rules]
        self._record_states = bytearray()

    def add_entity(self, entity_id: str, found: Sequence[bytes | None]) -> bool:
        """Take in an entity; return whether it is new. One that comes again with other values is ambiguous.

        ``entity_id`` is the record id that its key stands for now.
        """
        place, is_new = self._entities.place(pack_id(entity_id)[1])
        if not is_new:
            digests = [
                table.digest(values[place])
                for table, values in zip(self._tables, self._entity_values, strict=True)
            ]
            if digests != list(found):
                self._entity_states[place] = _AMBIGUOUS
            return False
        self._entity_states.append(_OPEN)
        self._partners.append(0)
        for table, values, digest in zip(self._tables, self._entity_values, found, strict=True):
            values.append(0 if digest is None else table.add_entity(digest))
        return True

    def add_record(self, record_id: str, found: Sequence[bytes | None]) -> None:
        """Take in a live record, after all entities. One whose key the other MIS has too is matched by it."""
        packed = pack_id(record_id)[1]
        number = len(self._record_states)
        self._records += packed
        self._record_states.append(_OPEN)
        for table, values, digest in zip(self._tables, self._record_values, found, strict=True):
            values.append(0 if digest is None else table.add_record(digest, number))
        entity = self._entities.find(packed)
        if entity >= 0 and self._entity_states[entity] == _OPEN:
            self._pair(entity, number)

    def match(self) -> Counts:
        """Match by one rule after the other, and return what it came to."""
        for number in range(len(self._tables)):
            self._match_by(number)
        entities, records = self._entity_states, self._record_states
        return Counts(
            live=len(records),
            found=len(entities),
            matched=entities.count(_MATCHED),
            ambiguous=entities.count(_AMBIGUOUS) + records.count(_AMBIGUOUS),
            created=entities.count(_OPEN),
            left_over=records.count(_OPEN),
        )

    def _match_by(self, number: int) -> None:
        table = self._tables[number]
        for place, value in enumerate(self._entity_values[number]):
            if self._entity_states[place] != _OPEN or not value or not table.records[value]:
                continue
            record = table.record[value]
            is_alone = table.records[value] != _MANY and table.entities[value] != _MANY
            if not is_alone or self._record_states[record] != _OPEN:
                self._entity_states[place] = _AMBIGUOUS
            elif self._is_contradicted(place, record, number):
                self._entity_states[place] = self._record_states[record] = _AMBIGUOUS
            else:
                self._pair(place, record)
        for record, value in enumerate(self._record_values[number]):
            if (
                value
                and self._record_states[record] == _OPEN
                and table.entities[value]
                and (table.records[value] == _MANY or table.entities[value] == _MANY)
            ):
                self._record_states[record] = _AMBIGUOUS

    def _is_contradicted(self, place: int, record: int, number: int) -> bool:
        """Whether both have stronger evidence, which then differs."""
        return any(
            self._entity_values[stronger][place] and self._record_values[stronger][record]
            for stronger in range(number)
        )

    def _pair(self, place: int, record: int) -> None:
        self._partners[place] = record + 1
        self._entity_states[place] = self._record_states[record] = _MATCHED

    def partner(self, place: int) -> str | None:
        """Return the record of the entity that came as the ``place``-th new one, ``None`` without any."""
        number = self._partners[place]
        return self._record_id(number - 1) if number else None

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the record id and the entity id of each match in which they differ."""
        for place, number in enumerate(self._partners):
            if number:
                record_id = self._record_id(number - 1)
                entity_id = unpack_id(self._kind, self._entities.key(place))
                if entity_id != record_id:
                    yield record_id, entity_id

    def unmatched(self, most: int) -> list[str]:
        """Return up to ``most`` records without a match, the ambiguous ones first."""
        found: list[str] = []
        for wanted in (_AMBIGUOUS, _OPEN):
            for number, state in enumerate(self._record_states):
                if len(found) >= most:
                    return found
                if state == wanted:
                    found.append(self._record_id(number))
        return found

    def _record_id(self, number: int) -> str:
        packed = self._records[number * ID_BYTES : (number + 1) * ID_BYTES]
        return unpack_id(self._kind, bytes(packed))


class _Table:
    """The values of one rule, numbered from 1; how many entities and records have each, two meaning many."""

    def __init__(self) -> None:
        self._places = Places()
        self.entities = bytearray(1)
        self.records = bytearray(1)
        self.record = array("I", [0])

    def digest(self, value: int) -> bytes | None:
        return self._places.key(value - 1) if value else None

    def add_entity(self, digest: bytes) -> int:
        value = self._value(digest)
        self.entities[value] = min(_MANY, self.entities[value] + 1)
        return value

    def add_record(self, digest: bytes, record: int) -> int:
        value = self._value(digest)
        self.records[value] = min(_MANY, self.records[value] + 1)
        self.record[value] = record
        return value

    def _value(self, digest: bytes) -> int:
        place, is_new = self._places.place(digest)
        if is_new:
            self.entities.append(0)
            self.records.append(0)
            self.record.append(0)
        return place + 1
