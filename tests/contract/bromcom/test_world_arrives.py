"""What the connector reads and parses is what the simulated school is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import TypeAlias

import pytest
from google.protobuf.message import Message

from schoolgate.v1 import kind_pb2 as k
from schoolgate_bromcom.reader import BromcomSession
from schoolgate_sdk import KINDS, Parsed, Ref, SourceKey
from schoolgate_sdk.testing.world import Truth, World
from tests.contract.bromcom.conftest import CONNECTOR, Mis, StartMis, read_all

Entry: TypeAlias = tuple[k.Kind.ValueType, SourceKey]
State: TypeAlias = dict[Entry, set[tuple[str, tuple[Ref, ...]]]]

_NOT_AT_BROMCOM = {
    k.KIND_STUDENT: ("uln", "middle_names", "national_curriculum_year"),
    k.KIND_STAFF: ("middle_names",),
    k.KIND_STAFF_ASSIGNMENT: ("valid_from",),
}
"""Fields that the public field lists have no column for."""


def _shown(message: Message) -> str:
    return f"{message.DESCRIPTOR.name} {message}"


async def _arrived(session: BromcomSession, settings: Mapping[str, str]) -> State:
    found: State = {}
    for dataset in CONNECTOR.datasets:
        rows, end = await read_all(session, dataset.name)
        assert end.terminator_proven
        assert end.contradiction is None
        kinds = {spec.kind: spec.namespace for spec in dataset.kinds}
        for row in rows:
            for parsed in dataset.parser(row, settings):
                assert parsed.key.namespace == kinds[parsed.kind]
                _add(found, parsed)
    return found


def _add(state: State, parsed: Parsed) -> None:
    state.setdefault((parsed.kind, parsed.key), set()).add((_shown(parsed.message), parsed.refs))


def _expected(world: World, today: date, person_of: Callable[[int], int]) -> State:
    """Return what Bromcom shows of the world's truth, under Bromcom's keys."""
    expected: State = {}
    gone = {
        held.pupil
        for held in world.enrolments.values()
        if held.valid_to is not None and held.valid_to <= today
    }
    present = {
        held.pupil for held in world.enrolments.values() if held.valid_to is None or held.valid_to > today
    }
    for truth in world.canonical():
        parsed = _at_bromcom(truth, person_of)
        if parsed is None:
            continue
        if parsed.kind == k.KIND_STUDENT and truth.key[0] in gone - present:
            continue
        if parsed.kind == k.KIND_ENROLMENT:
            end = getattr(parsed.message, "valid_to", "")
            if end and date.fromisoformat(end) <= today:
                continue
        _add(expected, parsed)
    return expected


def _at_bromcom(truth: Truth, person_of: Callable[[int], int]) -> Parsed | None:
    numbers = truth.key
    match truth.kind:
        case k.KIND_STUDENT:
            key = SourceKey("bromcom/student", numbers)
        case k.KIND_STAFF:
            key = SourceKey("bromcom/staff", numbers)
        case k.KIND_ENROLMENT:
            key = SourceKey("bromcom/enrolment", numbers)
        case k.KIND_GROUP:
            key = SourceKey("bromcom/collection", numbers)
        case k.KIND_GROUP_MEMBERSHIP:
            group, pupil, first_day = numbers
            assert isinstance(pupil, int)
            key = SourceKey("bromcom/collection_associate", (group, person_of(pupil), first_day))
        case k.KIND_STAFF_ASSIGNMENT:
            key = SourceKey("bromcom/collection_executive", numbers[:3])
        case k.KIND_ATTENDANCE_MARK:
            key = SourceKey("bromcom/attendance", numbers)
        case _:
            return None
    message = type(truth.message)()
    message.CopyFrom(truth.message)
    for field in _NOT_AT_BROMCOM.get(truth.kind, ()):
        message.ClearField(field)
    return Parsed(truth.kind, key, message, _refs(truth, person_of))


def _refs(truth: Truth, person_of: Callable[[int], int]) -> tuple[Ref, ...]:
    spaces = {
        "group_id": "bromcom/collection",
        "staff_id": "bromcom/staff",
        "student_id": "bromcom/student",
    }
    refs: list[Ref] = []
    for ref in truth.refs:
        if ref.field not in spaces:
            continue
        space, parts = spaces[ref.field], ref.key
        if ref.field == "student_id" and truth.kind == k.KIND_GROUP_MEMBERSHIP:
            number = parts[0]
            assert isinstance(number, int)
            space, parts = "bromcom/person", (person_of(number),)
        refs.append(Ref(ref.field, ref.kind, SourceKey(space, parts)))
    return tuple(refs)


async def _check(mis: Mis, session: BromcomSession) -> None:
    world = mis.world

    def person_of(pupil: int) -> int:
        return world.pupils[pupil].person_number

    arrived = await _arrived(session, mis.settings)
    expected = _expected(world, mis.school.today, person_of)
    assert arrived.keys() == expected.keys()
    for entry, states in expected.items():
        assert arrived[entry] == states, KINDS[entry[0]].name


@pytest.mark.parametrize("tidy", [False, True])
async def test_the_world_arrives(start_mis: StartMis, tidy: bool) -> None:
    world = World.build(seed=5, pupils=120, marks_until=date(2026, 9, 26))
    mis = await start_mis(world, tidy=tidy, page_size=700)
    await _check(mis, await mis.session())


async def test_blemishes_are_there_to_be_survived(start_mis: StartMis) -> None:
    """The test above shows nothing unless the simulator is as untidy as BROMCOM is."""
    mis = await start_mis(World.build(seed=5, pupils=1500, marks_until=date(2026, 9, 12)), page_size=100_000)
    session = await mis.session(page_size="100000")
    rows = {dataset.name: (await read_all(session, dataset.name))[0] for dataset in CONNECTOR.datasets}
    marks = rows["attendance_marks"]
    assert {row["periodDisplayName"] for row in marks} == {"AM", "PM", "AM".ljust(15), "PM".ljust(15)}
    assert len(marks) > mis.world.count_marks()
    students = rows["students"]
    assert {row["inCareFlag"] for row in students} == {"Yes", "No"}
    assert {row["premiumPupilFlag"] for row in students} == {True, False}
    assert any(row["lastName"].endswith("  ") for row in students)
    assert any(row["examNumber"] == "0" for row in students)
    assert len(students) > len({row["studentId"] for row in students})
    assert any(row["Name"].rstrip().endswith(" (26/27)") for row in rows["groups"])
    assert "StaffId" in rows["staff"][0]
    ends = {row["endDate"] for row in rows["group_memberships"]}
    assert {None, "", "1900-01-01T00:00:00"} <= ends


async def test_the_world_arrives_after_each_edit(mis: Mis) -> None:
    world = mis.world
    session = await mis.session()
    numbers = list(world.pupils)
    groups = list(world.tutor_groups().values())
    before = world.tutor_groups()[numbers[4]]
    other = next(group for group in groups if group.number != before.number)
    mark = next(mark for mark in world.marks() if mark.pupil == numbers[5])
    joiner: dict[str, object] = {"op": "join", "forename": "Zoë", "surname": "O'Brien", "on": "2026-09-10"}
    edits: list[dict[str, object]] = [
        joiner,
        {"op": "leave", "pupil": numbers[0], "on": "2026-09-18"},
        {"op": "leave", "pupil": numbers[1], "on": "2026-10-02"},
        {"op": "rename", "pupil": numbers[2], "surname": "Ní Bhriain", "preferred_forename": "Bríd"},
        {"op": "change_upn", "pupil": numbers[3], "upn": "R201100018042"},
        {
            "op": "move_group",
            "pupil": numbers[4],
            "from_group": before.number,
            "to_group": other.number,
            "on": "2026-09-14",
        },
        {
            "op": "correct_mark",
            "pupil": mark.pupil,
            "date": mark.date.isoformat(),
            "session": mark.session,
            "code": "J1",
            "comment": 'Interview at "St Mary\'s"',
        },
        {"op": "merge", "loser": numbers[6], "survivor": numbers[7]},
        {"op": "rekey", "pupil": numbers[8], "new_number": 70_001},
        {"op": "rebuild_timetable", "on": "2026-09-21"},
        {"op": "rejoin", "pupil": numbers[0], "on": "2026-09-23"},
        {"op": "advance", "to": "2026-10-05"},
    ]
    for edit in edits:
        mis.school.apply(edit)
        await _check(mis, session)


async def test_a_leaver_vanishes_once_the_day_has_come(mis: Mis) -> None:
    session = await mis.session()
    pupil = next(iter(mis.world.pupils))

    async def rows_of_pupil() -> list[object]:
        rows, _ = await read_all(session, "students")
        return [row["enrolmentEndDate"] for row in rows if row["studentId"] == pupil]

    mis.school.apply({"op": "leave", "pupil": pupil, "on": "2026-09-25"})
    assert await rows_of_pupil() == ["2026-09-24T00:00:00"]
    mis.school.apply({"op": "advance", "to": "2026-09-25"})
    assert await rows_of_pupil() == []


@pytest.mark.parametrize(("person_ids", "setting"), [("absent", "no"), ("same", "yes")])
async def test_members_are_joined_to_pupils_as_the_school_says(
    start_mis: StartMis, person_ids: str, setting: str
) -> None:
    assert person_ids in {"absent", "same"}
    mis = await start_mis(
        World.build(seed=3, pupils=30, marks_until=date(2026, 9, 5)),
        person_ids="same" if person_ids == "same" else "absent",
    )
    settings = mis.settings | {"person_id_is_student_id": setting}
    session = await mis.session(person_id_is_student_id=setting)
    students, _ = await read_all(session, "students")
    members, _ = await read_all(session, "group_memberships")
    parse_student = CONNECTOR.dataset("students").parser
    parse_member = CONNECTOR.dataset("group_memberships").parser
    persons = {
        key for row in students for parsed in parse_student(row, settings) for key in parsed.other_keys
    }
    asked = {
        ref.key
        for row in members
        for parsed in parse_member(row, settings)
        for ref in parsed.refs
        if ref.field == "student_id"
    }
    assert asked
    if setting == "yes":
        assert asked <= persons
    else:
        assert not persons
        assert {key.namespace for key in asked} == {"bromcom/person"}
