"""What speaks for two records being one entity: strong enough to ask an operator, never to act upon."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from schoolgate.v1.kind_pb2 import KIND_CONTACT, KIND_STAFF, KIND_STUDENT, Kind


class Rule(NamedTuple):
    """One sort of evidence: all of ``same`` are given and equal, and none of ``unless`` is given and differs.

    ``says`` names it in a sentence without values.
    """

    same: tuple[str, ...]
    unless: tuple[str, ...]
    says: str


RULES: Mapping[Kind.ValueType, tuple[Rule, ...]] = MappingProxyType(
    {
        KIND_STUDENT: (
            # One UPN with two dates of birth is a mistake in the MIS, and two pupils.
            Rule(("upn",), ("date_of_birth",), "both have the same UPN"),
            Rule(("uln",), ("date_of_birth",), "both have the same ULN"),
            # Enough to ask, because one of the two has left: pupils of one school with one name and one
            # birthday at a time are very rare. What tells them apart after all is the UPN or the ULN.
            Rule(
                ("surname", "forename", "date_of_birth"),
                ("upn", "uln", "middle_names"),
                "both have the same surname, forename and date of birth",
            ),
        ),
        KIND_STAFF: (
            # Offices share mailboxes, and people marry: the forename is what stays.
            Rule(("email", "forename"), (), "both have the same e-mail address and forename"),
            Rule(("staff_code", "surname"), ("forename",), "both have the same staff code and surname"),
        ),
        KIND_CONTACT: (
            # Families share telephones and mailboxes, so these say nothing without the name.
            Rule(
                ("email", "forename", "surname"),
                (),
                "both have the same e-mail address, forename and surname",
            ),
            Rule(
                ("telephone", "forename", "surname"),
                (),
                "both have the same telephone number, forename and surname",
            ),
        ),
    }
)
"""The evidence by kind, the strongest first. Other kinds have none: groups, rooms and periods are made anew
each year under the names of the last one, and relationships are what their ends are."""


class Entity(NamedTuple):
    """What is known of one record: its fields as text, as far as the school's data profile keeps them.

    ``fresh``: it is new, or has just left; only pairs with something fresh are worth a question.
    """

    record_id: str
    live: bool
    fresh: bool
    values: Mapping[str, str]


class Pair(NamedTuple):
    """A live record and one that has left, and why they are likely one."""

    live_id: str
    gone_id: str
    says: str


def fields_of(kind: Kind.ValueType) -> tuple[str, ...]:
    """Return the fields that the evidence of ``kind`` looks at; none where there is no evidence."""
    rules = RULES.get(kind, ())
    return tuple(sorted({field for rule in rules for field in (*rule.same, *rule.unless)}))


def clues(kind: Kind.ValueType, entity: Entity) -> Iterator[tuple[str, ...]]:
    """Yield what an entity has in common with its likes: per rule its sentence and the values in one form."""
    for rule in RULES.get(kind, ()):
        values = tuple(plain(entity.values.get(field, "")) for field in rule.same)
        if all(values):
            yield (rule.says, *values)


def pairs(kind: Kind.ValueType, entities: Iterable[Entity]) -> list[Pair]:
    """Return the pairs of a live record and one that has left for which there is evidence, each record once.

    A clue that more than one live record has, or more than one that has left, says nothing.
    """
    groups: defaultdict[tuple[str, ...], list[Entity]] = defaultdict(list)
    for entity in entities:
        for clue in clues(kind, entity):
            groups[clue].append(entity)
    found: list[Pair] = []
    paired: set[str] = set()
    for rule in RULES.get(kind, ()):
        for clue, alike in sorted(groups.items()):
            if clue[0] != rule.says:
                continue
            live = [entity for entity in alike if entity.live]
            gone = [entity for entity in alike if not entity.live]
            if len(live) != 1 or len(gone) != 1 or not (live[0].fresh or gone[0].fresh):
                continue
            both = {live[0].record_id, gone[0].record_id}
            if not both & paired and not _contradicted(rule, live[0], gone[0]):
                found.append(Pair(live[0].record_id, gone[0].record_id, rule.says))
                paired |= both
    return found


def _contradicted(rule: Rule, one: Entity, other: Entity) -> bool:
    values = ((plain(one.values.get(field, "")), plain(other.values.get(field, ""))) for field in rule.unless)
    return any(left and right and left != right for left, right in values)


def plain(value: str) -> str:
    """Return a value as it compares: without regard to case and to the width of spaces."""
    return " ".join(value.casefold().split())
