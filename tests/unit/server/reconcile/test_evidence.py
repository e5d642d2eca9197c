"""Evidence that two records are one entity: strong, unique, and never more than a question."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate_sdk import KINDS
from schoolgate_server.reconcile.evidence import RULES, Entity, Pair, clues, fields_of, pairs

STUDENT, STAFF, CONTACT = kinds.KIND_STUDENT, kinds.KIND_STAFF, kinds.KIND_CONTACT
UPN, NAMED = "both have the same UPN", "both have the same surname, forename and date of birth"
A1 = {"upn": "A1"}
AMIRA = {"surname": "Adeyemi", "forename": "Amira", "date_of_birth": "2014-03-01"}


def live(name: str, values: dict[str, str], *, fresh: bool = True) -> Entity:
    return Entity(name, True, fresh, values)


def gone(name: str, values: dict[str, str], *, fresh: bool = True) -> Entity:
    return Entity(name, False, fresh, values)


@pytest.mark.parametrize(
    ("kind", "one", "other", "says"),
    [
        (STUDENT, {"upn": "A1"}, {"upn": "A1"}, UPN),
        (STUDENT, {"upn": "a1 "}, {"upn": "A1"}, UPN),
        (STUDENT, {"upn": "A1", "surname": "Old"}, {"upn": "A1", "surname": "New"}, UPN),
        (
            STUDENT,
            {"upn": "A1", "date_of_birth": "2014-03-01"},
            {"upn": "A1", "date_of_birth": "2015-03-01"},
            "",
        ),
        (STUDENT, {"uln": "77"}, {"uln": "77"}, "both have the same ULN"),
        (STUDENT, AMIRA, AMIRA, NAMED),
        (STUDENT, AMIRA, AMIRA | {"surname": "ADEYEMI  "}, NAMED),
        (STUDENT, AMIRA, AMIRA | {"upn": "A1"}, NAMED),
        (STUDENT, AMIRA | {"upn": "A2"}, AMIRA | {"upn": "A1"}, ""),
        (STUDENT, AMIRA | {"middle_names": "Ada"}, AMIRA | {"middle_names": "Bea"}, ""),
        (STUDENT, AMIRA | {"date_of_birth": ""}, AMIRA | {"date_of_birth": ""}, ""),
        (STUDENT, {"email": "a@x"}, {"email": "a@x"}, ""),
        (STUDENT, {}, {}, ""),
        (
            STAFF,
            {"email": "a@x", "forename": "Ann"},
            {"email": "A@x", "forename": "Ann"},
            "both have the same e-mail address and forename",
        ),
        (STAFF, {"email": "office@x"}, {"email": "office@x"}, ""),
        (
            STAFF,
            {"staff_code": "AAD", "surname": "Ade"},
            {"staff_code": "AAD", "surname": "Ade"},
            "both have the same staff code and surname",
        ),
        (
            STAFF,
            {"staff_code": "AAD", "surname": "Ade", "forename": "Ann"},
            {"staff_code": "AAD", "surname": "Ade", "forename": "Ben"},
            "",
        ),
        (STAFF, {"staff_code": "AAD"}, {"staff_code": "AAD"}, ""),
        (CONTACT, {"telephone": "1", "surname": "A"}, {"telephone": "1", "surname": "A"}, ""),
        (
            CONTACT,
            {"telephone": "1", "surname": "A", "forename": "F"},
            {"telephone": "1", "surname": "A", "forename": "F"},
            "both have the same telephone number, forename and surname",
        ),
        (kinds.KIND_GROUP, {"name": "7A"}, {"name": "7A"}, ""),
    ],
)
def test_what_is_evidence_and_what_is_not(
    kind: Any, one: dict[str, str], other: dict[str, str], says: str
) -> None:
    expected = [Pair("new", "old", says)] if says else []
    assert pairs(kind, [live("new", one), gone("old", other)]) == expected


@pytest.mark.parametrize("third", [live("x", A1), gone("x", A1), live("x", A1, fresh=False)])
def test_what_more_than_two_have_says_nothing(third: Entity) -> None:
    """Seen to fail with the first of several taken."""
    entities = [live("new", A1), gone("old", A1), third]
    for order in (entities, entities[::-1]):
        assert pairs(STUDENT, order) == []


def test_two_that_are_both_here_or_both_gone_are_no_pair() -> None:
    assert pairs(STUDENT, [live("a", A1), live("b", A1)]) == []
    assert pairs(STUDENT, [gone("a", A1), gone("b", A1)]) == []


@pytest.mark.parametrize(("new", "old", "asked"), [(True, False, 1), (False, True, 1), (False, False, 0)])
def test_only_what_is_fresh_is_worth_a_question(new: bool, old: bool, asked: int) -> None:
    assert len(pairs(STUDENT, [live("new", A1, fresh=new), gone("old", A1, fresh=old)])) == asked


def test_a_record_is_in_one_pair_and_the_strongest_evidence_counts() -> None:
    entities = [live("new", A1 | AMIRA), gone("old", AMIRA), gone("older", A1)]
    assert pairs(STUDENT, entities) == [Pair("new", "older", UPN)]
    # One sort of evidence that is ambiguous does not spoil another.
    entities = [live("new", A1 | AMIRA), gone("old", A1 | AMIRA), gone("x", A1)]
    assert pairs(STUDENT, entities) == [Pair("new", "old", NAMED)]


def test_every_rule_looks_at_fields_that_there_are_and_never_at_special_categories() -> None:
    for kind, rules in RULES.items():
        known = {field.name for field in KINDS[kind].message.DESCRIPTOR.fields}
        assert set(fields_of(kind)) <= known
        assert all(rule.same and rule.says for rule in rules)
    assert not any("sen" in field or "ethnic" in field or "sex" in field for field in fields_of(STUDENT))
    assert fields_of(kinds.KIND_GROUP) == ()


VALUES = st.dictionaries(st.sampled_from(["upn", "uln", *AMIRA]), st.sampled_from(["", "a", "A ", "b"]))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), VALUES), max_size=8), st.randoms())
def test_pairs_are_unique_share_a_clue_and_do_not_depend_on_the_order(
    drawn: list[tuple[bool, bool, dict[str, str]]], random: Any
) -> None:
    entities = [Entity(str(number), *each) for number, each in enumerate(drawn)]
    found = pairs(STUDENT, entities)
    named = [record_id for pair in found for record_id in (pair.live_id, pair.gone_id)]
    assert len(named) == len(set(named))
    for pair in found:
        one, other = entities[int(pair.live_id)], entities[int(pair.gone_id)]
        assert (one.live, other.live) == (True, False)
        assert one.fresh or other.fresh
        shared = set(clues(STUDENT, one)) & set(clues(STUDENT, other))
        assert pair.says in {clue[0] for clue in shared}
        # No value is in the sentence that an operator, and a log, gets to see (G16).
        assert pair.says in {rule.says for rule in RULES[STUDENT]}
    random.shuffle(entities)
    assert sorted(pairs(STUDENT, entities)) == sorted(found)
