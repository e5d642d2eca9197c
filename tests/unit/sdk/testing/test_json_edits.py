"""Edits in JSON form do what the methods do, and say what is wrong with them."""

from __future__ import annotations

import inspect
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schoolgate_sdk.testing.json_edits import OPS
from schoolgate_sdk.testing.world import EditRefused, World
from tests.unit.sdk.testing.consistency import digest

NO_EDITS = {
    "apply",
    "build",
    "from_sds",
    "schools_in_sds",
    "canonical",
    "count_marks",
    "marks",
    "tutor_groups",
}


@pytest.fixture
def world() -> World:
    return World.build(5, pupils=24, marks_until=date(2026, 11, 10))


def test_every_edit_has_a_json_form_with_the_same_arguments() -> None:
    methods = {
        name: list(inspect.signature(method).parameters.values())[1:]
        for name, method in inspect.getmembers(World, inspect.isfunction)
        if not name.startswith("_") and name not in NO_EDITS
    }
    assert methods.keys() == OPS.keys()
    for name, parameters in methods.items():
        required = {each.name for each in parameters if each.default is inspect.Parameter.empty}
        assert set(OPS[name].required) == required, name
        assert set(OPS[name].optional) == {each.name for each in parameters} - required, name


CONTACT, EVENT, RESULT = 49, 32, 29
"""The numbers that come next in the world of these tests after the edits before."""

_RECORDED: list[tuple[dict[str, object], dict[str, int]]] = [
    (
        {"op": "add_contact", "pupil": 7, "relationship_code": "CAR", "surname": "Ó Briain", "email": None},
        {"contact": CONTACT},
    ),
    ({"op": "change_contact", "contact": CONTACT, "telephone": "07700 900001"}, {"contact": CONTACT}),
    (
        {"op": "link_contact", "pupil": 8, "contact": CONTACT, "relationship_code": "FAM", "priority": 2},
        {"pupil": 8, "contact": CONTACT},
    ),
    ({"op": "unlink_contact", "pupil": 7, "contact": CONTACT}, {"pupil": 7, "contact": CONTACT}),
    (
        {
            "op": "record_behaviour",
            "pupil": 7,
            "event_type": 1,
            "occurred_at": "2026-11-09T10:05",
            "points": 3,
        },
        {"event": EVENT},
    ),
    ({"op": "correct_behaviour", "event": EVENT, "comment": "Again"}, {"event": EVENT}),
    ({"op": "delete_behaviour", "event": EVENT}, {"event": EVENT}),
    (
        {"op": "record_result", "pupil": 7, "assessment": "Mock", "result": "7", "subject": "Ma"},
        {"result": RESULT},
    ),
    (
        {"op": "record_mark", "pupil": 7, "date": "2026-10-05", "code": "L", "session": "AM"},
        {"pupil": 7},
    ),
    ({"op": "withdraw_consent", "pupil": 9}, {"pupil": 9}),
    ({"op": "grant_consent", "pupil": 9}, {"pupil": 9}),
]


def test_a_json_edit_does_what_the_method_does(world: World) -> None:
    other = World.build(5, pupils=24, marks_until=date(2026, 11, 10))
    pupil, group = next(iter(world.tutor_groups().items()))
    target = next(
        g.number for g in world.groups.values() if g.type_code == "TUTORGRP" and g.number != group.number
    )
    upn = world.pupils[2].upn or "R201100018042"
    edits: list[tuple[dict[str, object], dict[str, int]]] = [
        ({"op": "join", "on": "2026-10-05", "forename": "Zoë", "surname": None}, {"pupil": 25}),
        ({"op": "leave", "pupil": 25, "on": "2026-10-20"}, {"pupil": 25}),
        ({"op": "rejoin", "pupil": 25}, {"pupil": 25}),
        ({"op": "rename", "pupil": 7, "surname": "O'Neill"}, {"pupil": 7}),
        ({"op": "change_upn", "pupil": 7, "upn": upn}, {"pupil": 7}),
        (
            {"op": "move_group", "pupil": pupil, "from_group": group.number, "to_group": target},
            {"pupil": pupil, "from_group": group.number, "to_group": target},
        ),
        (
            {"op": "correct_mark", "pupil": 7, "date": "2026-10-05", "session": "PM", "code": "C1"},
            {"pupil": 7},
        ),
        ({"op": "merge", "loser": 20, "survivor": 21}, {"loser": 20, "survivor": 21}),
        ({"op": "rekey", "pupil": 22, "new_number": 99}, {"pupil": 99}),
        ({"op": "rebuild_timetable"}, {}),
        ({"op": "advance", "to": "2026-11-20"}, {}),
        *_RECORDED,
    ]
    assert {str(edit["op"]) for edit, _ in edits} == OPS.keys()
    for edit, concerned in edits:
        assert world.apply(edit) == concerned
    other.join(on=date(2026, 10, 5), forename="Zoë")
    other.leave(25, date(2026, 10, 20))
    other.rejoin(25)
    other.rename(7, surname="O'Neill")
    other.change_upn(7, upn)
    other.move_group(pupil, group.number, target)
    other.correct_mark(7, date(2026, 10, 5), "PM", "C1")
    other.merge(20, 21)
    other.rekey(22, 99)
    other.rebuild_timetable()
    other.advance(date(2026, 11, 20))
    other.add_contact(7, "CAR", "Ó Briain")
    other.change_contact(CONTACT, telephone="07700 900001")
    other.link_contact(8, CONTACT, relationship_code="FAM", priority=2)
    other.unlink_contact(7, CONTACT)
    other.record_behaviour(7, 1, datetime.fromisoformat("2026-11-09T10:05"), points=3)
    other.correct_behaviour(EVENT, comment="Again")
    other.delete_behaviour(EVENT)
    other.record_result(7, "Mock", "7", subject="Ma")
    other.record_mark(7, date(2026, 10, 5), "L", session="AM")
    other.withdraw_consent(9)
    other.grant_consent(9)
    assert digest(world) == digest(other)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        ({}, "edit: op: must be one of: join, "),
        ({"op": "expel", "pupil": 1}, "edit: op: must be one of"),
        ({"op": ["join"]}, "edit: op: must be one of"),
        (
            {"op": "rename", "pupil": 1, "nickname": "A"},
            "rename: edit: takes only: pupil, forename, surname, ",
        ),
        ({"op": "rename", "surname": "A"}, "rename: pupil: is missing"),
        ({"op": "rename", "pupil": "1", "surname": "A"}, "rename: pupil: must be an integer"),
        ({"op": "rename", "pupil": True, "surname": "A"}, "rename: pupil: must be an integer"),
        ({"op": "rename", "pupil": None, "surname": "A"}, "rename: pupil: must be an integer"),
        ({"op": "rename", "pupil": 1, "surname": 5}, "rename: surname: must be a text"),
        ({"op": "leave", "pupil": 1, "on": "1/9/2026"}, "leave: on: must be a date, YYYY-MM-DD"),
        ({"op": "leave", "pupil": 1, "on": 20260901}, "leave: on: must be a date, YYYY-MM-DD"),
        ({"op": "rename", "pupil": 1, "surname": "\ud800"}, "rename: surname: must be Unicode text"),
        (
            {"op": "correct_mark", "pupil": 1, "date": "2026-10-05", "session": "P3", "code": "/"},
            "correct_mark: session: must be AM or PM",
        ),
        (
            {"op": "correct_mark", "pupil": 1, "date": "2026-10-05", "session": [], "code": "/"},
            "correct_mark: session: must be AM or PM",
        ),
    ],
)
def test_a_malformed_edit_is_refused_by_field(world: World, edit: dict[str, object], text: str) -> None:
    before = digest(world)
    with pytest.raises(EditRefused) as refused:
        world.apply(edit)
    assert str(refused.value).startswith(text)
    assert digest(world) == before


def test_g16_what_was_given_is_not_in_the_error(world: World) -> None:
    with pytest.raises(EditRefused) as refused:
        world.apply({"op": "join", "surname": "Secretname", "year_group": "Year Secret"})
    assert "Secret" not in str(refused.value)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=2),
    st.integers(1, 9),
    st.sampled_from(["2026-10-05", "AM", "/", "Year 7", "R201100018042"]),
)
FIELDS = st.sampled_from(sorted({field for op in OPS.values() for field in (*op.required, *op.optional)}))


@settings(max_examples=60)
@given(st.sampled_from(sorted(OPS)), st.data())
def test_g18_no_json_gives_any_other_error(op: str, data: st.DataObject) -> None:
    required = data.draw(st.fixed_dictionaries(dict.fromkeys(OPS[op].required, VALUES)))
    edit = {"op": op, **required, **data.draw(st.dictionaries(FIELDS, VALUES, max_size=1))}
    world = World.build(5, pupils=8, marks_until=date(2026, 9, 10))
    accepted = True
    try:
        world.apply(edit)
    except EditRefused:
        accepted = False
    assert world.revision == accepted
    assert list(world.canonical())
