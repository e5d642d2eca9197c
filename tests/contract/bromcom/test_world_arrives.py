"""What the connector reads and parses is what the simulated school is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TypeAlias

import pytest
from google.protobuf.message import Message

from schoolgate.v1 import kind_pb2 as k
from schoolgate_bromcom.session import BromcomSession
from schoolgate_sdk import KINDS, Parsed, SourceKey
from schoolgate_sdk.testing.world import World
from tests.contract.bromcom.conftest import CONNECTOR, Mis, StartMis, read_all
from tests.support.bromcom_truth import shown_at_bromcom

Entry: TypeAlias = tuple[k.Kind.ValueType, SourceKey]
State: TypeAlias = dict[Entry, set[tuple[str, frozenset[tuple[str, SourceKey]]]]]


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
            messages = list(dataset.parser(row, settings))
            assert messages, "a row that yields nothing is a defect of the parser to the server"
            for parsed in messages:
                assert parsed.key.namespace == kinds[parsed.kind]
                _add(found, parsed)
    return found


def _add(state: State, parsed: Parsed) -> None:
    refs = frozenset((ref.field, ref.key) for ref in parsed.refs)
    state.setdefault((parsed.kind, parsed.key), set()).add((_shown(parsed.message), refs))


def _expected(world: World, today: date) -> State:
    """Return what Bromcom shows of the world's truth, under Bromcom's keys."""
    return {
        (shown.kind, SourceKey(*key)): {
            (_shown(shown.message), frozenset((name, SourceKey(*ref)) for name, ref in shown.refs.items()))
        }
        for key, shown in shown_at_bromcom(world, today).items()
    }


async def _check(mis: Mis, session: BromcomSession) -> None:
    arrived = await _arrived(session, mis.settings)
    expected = _expected(mis.world, mis.school.today)
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
        *_recorded(mis.world, numbers[9]),
    ]
    for edit in edits:
        mis.school.apply(edit)
        await _check(mis, session)


def _recorded(world: World, pupil: int) -> list[dict[str, object]]:
    """Return edits of what is recorded of a pupil, each of another kind."""
    contact = min(link.contact for link in world.contact_links.values() if link.pupil == pupil)
    event = next(iter(world.behaviour))
    period = next(each for each in world.periods.values() if each.type_code == "PERIOD" and each.weekday == 1)
    lesson = {"date": "2026-09-14", "period": period.number, "code": "L", "comment": "Bus"}
    return [
        {"op": "add_contact", "pupil": pupil, "surname": "Ó Briain", "relationship_code": "CAR"},
        {"op": "change_contact", "contact": contact, "telephone": "07700 900999"},
        {"op": "link_contact", "pupil": pupil, "contact": contact, "priority": 3},
        {"op": "unlink_contact", "pupil": pupil, "contact": contact},
        {"op": "record_behaviour", "pupil": pupil, "event_type": 2, "occurred_at": "2026-09-14T10:05"},
        {"op": "correct_behaviour", "event": event, "points": 0, "comment": "<Withdrawn>"},
        {"op": "delete_behaviour", "event": event},
        {"op": "record_result", "pupil": pupil, "assessment": "Mock", "result": "7", "subject": "Ma"},
        {"op": "record_mark", "pupil": pupil, **lesson},
        {"op": "withdraw_consent", "pupil": pupil},
        {"op": "grant_consent", "pupil": pupil},
    ]


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
