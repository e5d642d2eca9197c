"""Every edit changes what belongs together, and leaves a consistent world."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schoolgate_sdk.testing.entities import Membership
from schoolgate_sdk.testing.upn import permanent_upn
from schoolgate_sdk.testing.world import EditRefused, World
from tests.unit.sdk.testing.consistency import check, digest

TODAY = date(2026, 11, 10)
ON = date(2026, 10, 12)


@pytest.fixture
def world() -> World:
    return World.build(5, pupils=40, marks_until=TODAY)


def memberships_of(world: World, pupil: int) -> list[Membership]:
    return [membership for membership in world.memberships.values() if membership.pupil == pupil]


def marks_of(world: World, pupil: int) -> dict[tuple[date, str], str]:
    return {(mark.date, mark.session): mark.code for mark in world.marks(pupils=[pupil])}


def dual_pupil(world: World) -> int:
    return next(enrolment.pupil for enrolment in world.enrolments.values() if enrolment.status_code == "S")


def test_a_joiner_has_everything_from_the_first_day_on(world: World) -> None:
    before = world.revision
    joiner = world.join(on=ON, year_group="Year 9", forename="Zoë", surname="O'Brien")
    assert (joiner.number, joiner.forename, joiner.surname, joiner.year_group) == (
        41,
        "Zoë",
        "O'Brien",
        "Year 9",
    )
    assert [held[1:] for held in world.enrolments.values() if held.pupil == 41] == [(ON, "C", "Year 9", None)]
    kinds = {world.groups[held.group].type_code for held in memberships_of(world, 41)}
    assert kinds == {"TUTORGRP", "HOUSE", "YEARGRP", "CLASS"}
    assert {held.valid_from for held in memberships_of(world, 41)} == {ON}
    assert world.tutor_groups()[41].name.startswith("9")
    assert {day for day, _ in marks_of(world, 41)} == {day for day in world.year.days if ON <= day < TODAY}
    assert any(link.pupil == 41 for link in world.contact_links.values())
    assert world.revision == before + 1
    check(world)


def test_a_joiner_needs_no_details(world: World) -> None:
    joiner = world.join()
    assert joiner.year_group == "Year 7"
    assert not marks_of(world, joiner.number)
    assert world.join().number == joiner.number + 1
    check(world)


def test_a_joiner_of_a_year_without_pupils_gets_its_groups() -> None:
    world = World.build(1, pupils=1)
    (only,) = world.pupils.values()
    joiner = world.join(on=ON, year_group="Year 12" if only.year_group != "Year 12" else "Year 7")
    kinds = {world.groups[held.group].type_code for held in memberships_of(world, joiner.number)}
    assert kinds == {"TUTORGRP", "HOUSE", "YEARGRP"}
    check(world)


def test_a_leavers_time_ends_everywhere(world: World) -> None:
    pupil = dual_pupil(world)
    before = memberships_of(world, pupil)
    world.leave(pupil, ON)
    assert pupil in world.pupils
    assert {held.valid_to for held in world.enrolments.values() if held.pupil == pupil} == {ON}
    assert all(held.valid_to and held.valid_to <= ON for held in memberships_of(world, pupil))
    assert {held[:3] for held in memberships_of(world, pupil)} == {
        held[:3] for held in before if held.valid_from < ON
    }
    assert max(day for day, _ in marks_of(world, pupil)) < ON
    assert pupil not in world.tutor_groups(ON)
    check(world)


def test_a_leaver_leaves_today_by_default_and_once(world: World) -> None:
    world.leave(3)
    assert {held.valid_to for held in world.enrolments.values() if held.pupil == 3} == {TODAY}
    with pytest.raises(EditRefused, match=r"leave: on: .* not on roll"):
        world.leave(3)


def test_a_pupil_who_comes_back_has_two_enrolments_and_a_gap(world: World) -> None:
    back = date(2026, 11, 3)
    world.leave(3, ON)
    early = marks_of(world, 3)
    world.rejoin(3, back)
    assert max(held.valid_from for held in world.enrolments.values() if held.pupil == 3) == back
    days = {day for day, _ in marks_of(world, 3)}
    assert not [day for day in days if ON <= day < back]
    assert back in days
    assert early.items() <= marks_of(world, 3).items()
    check(world)
    with pytest.raises(EditRefused, match="rejoin: on"):
        world.rejoin(3, back + timedelta(days=2))


def test_a_renamed_pupil_keeps_every_other_name(world: World) -> None:
    before = world.pupils[17]
    renamed = world.rename(17, surname="Lloyd-Jones", preferred_forename="Alex")
    assert world.pupils[17] is renamed
    assert (renamed.surname, renamed.preferred_forename) == ("Lloyd-Jones", "Alex")
    assert (renamed.forename, renamed.upn, renamed.email) == (before.forename, before.upn, before.email)


def test_a_upn_changes_and_the_number_stays(world: World) -> None:
    upn = permanent_upn(world.school.dfe_number, 2026, 900)
    assert world.change_upn(17, upn).upn == world.pupils[17].upn == upn
    with pytest.raises(EditRefused, match="change_upn: upn"):
        world.change_upn(17, "A" + upn[1:])


def _move(world: World) -> tuple[int, int, int]:
    """Return a pupil, the tutor group of the pupil and another one."""
    pupil, group = next(iter(world.tutor_groups().items()))
    other = next(
        each for each in world.groups.values() if each.type_code == "TUTORGRP" and each.number != group.number
    )
    return pupil, group.number, other.number


def test_a_move_ends_one_membership_and_begins_another(world: World) -> None:
    pupil, old, new = _move(world)
    world.move_group(pupil, old, new, ON)
    assert world.tutor_groups(ON - timedelta(days=1))[pupil].number == old
    assert world.tutor_groups(ON)[pupil].number == new
    assert Membership(old, pupil, world.year.valid_from, ON) in memberships_of(world, pupil)
    assert Membership(new, pupil, ON) in memberships_of(world, pupil)
    check(world)
    world.move_group(pupil, new, old, ON)
    assert world.tutor_groups(ON)[pupil].number == old
    assert Membership(new, pupil, ON) not in memberships_of(world, pupil)
    check(world)


def test_a_move_is_refused_where_it_makes_no_sense(world: World) -> None:
    pupil, old, new = _move(world)
    house = next(group.number for group in world.groups.values() if group.type_code == "HOUSE")
    for arguments, field in [
        ((pupil, old, 99_999), "to_group"),
        ((pupil, 99_999, new), "from_group"),
        ((pupil, old, house), "to_group"),
        ((pupil, old, old), "to_group"),
        ((pupil, new, old), "from_group"),
    ]:
        with pytest.raises(EditRefused) as refused:
            world.move_group(*arguments)
        assert refused.value.field == field


def test_a_corrected_mark_is_the_only_one_that_changes(world: World) -> None:
    before = marks_of(world, 9)
    day = world.year.days[3]
    world.correct_mark(9, day, "AM", "Y7", "Flood")
    after = marks_of(world, 9)
    assert after[day, "AM"] == "Y7"
    assert {key for key in before if before[key] != after[key]} <= {(day, "AM")}
    assert next(mark for mark in world.marks(day, pupils=[9])).comment == "Flood"
    world.correct_mark(9, day, "AM", "/")
    assert next(mark for mark in world.marks(day, pupils=[9])).comment is None


def test_a_merge_keeps_the_survivor_and_what_only_the_loser_had(world: World) -> None:
    copy = world.join(on=ON, year_group="Year 9").number
    original = next(number for number, pupil in world.pupils.items() if pupil.year_group == "Year 9")
    before = marks_of(world, original)
    contacts = {link.contact for link in world.contact_links.values() if link.pupil in {original, copy}}
    world.merge(original, copy)
    assert original not in world.pupils
    assert world.merged == {original: copy}
    after = marks_of(world, copy)
    assert {key: after[key] for key in before if key[0] < ON} == {
        k: v for k, v in before.items() if k[0] < ON
    }
    assert {link.contact for link in world.contact_links.values() if link.pupil == copy} == contacts
    assert min(held.valid_from for held in world.enrolments.values() if held.pupil == copy) < ON
    check(world)
    newest = world.join().number
    world.merge(copy, newest)
    assert world.merged == {original: newest, copy: newest}
    assert newest > copy
    check(world)


def test_a_merge_with_itself_or_nobody_is_refused(world: World) -> None:
    for loser, survivor, field in [(1, 1, "survivor"), (999, 1, "loser"), (1, 999, "survivor")]:
        with pytest.raises(EditRefused) as refused:
            world.merge(loser, survivor)
        assert refused.value.field == field


def test_a_rekeyed_pupil_is_the_same_person_under_another_number(world: World) -> None:
    before, marks = world.pupils[9], marks_of(world, 9)
    spans = {(held.group, *held[2:]) for held in memberships_of(world, 9)}
    links = [link for link in world.contact_links.values() if link.pupil == 9]
    rekeyed = world.rekey(9, 5_009)
    assert 9 not in world.pupils
    assert (rekeyed.number, rekeyed.person_number, rekeyed.upn) == (5_009, before.person_number, before.upn)
    assert marks_of(world, 5_009) == marks
    assert {(held.group, *held[2:]) for held in memberships_of(world, 5_009)} == spans
    assert len([link for link in world.contact_links.values() if link.pupil == 5_009]) == len(links)
    assert not memberships_of(world, 9)
    check(world)
    assert world.join().number == 5_010
    for taken in (9, 5_009, 1, 0, 2**31):
        with pytest.raises(EditRefused, match="rekey: new_number"):
            world.rekey(2, taken)


def test_a_merge_survives_the_rekeying_of_its_survivor(world: World) -> None:
    world.merge(2, 3)
    world.rekey(3, 700)
    assert world.merged == {2: 700}
    check(world)


def test_a_rebuilt_timetable_has_new_entries_and_some_other_teachers(world: World) -> None:
    before = dict(world.timetable)
    teachers = {each[:3]: each for each in world.assignments.values() if each.role_code == "Main Teacher"}
    world.rebuild_timetable(ON)
    assert all(world.timetable[number].valid_to == ON for number in before)
    new = [entry for number, entry in world.timetable.items() if number not in before]
    assert len(new) == len(before)
    assert {entry.valid_from for entry in new} == {ON}
    ended = [each for each in teachers if world.assignments[teachers[each][:4]].valid_to == ON]
    assert 0 < len(ended) < len(teachers)
    check(world)
    world.rebuild_timetable(ON)
    assert len(world.timetable) == 2 * len(before)
    check(world)


def test_registers_are_never_taken_back(world: World) -> None:
    with pytest.raises(EditRefused, match="advance: to"):
        world.advance(TODAY - timedelta(days=7))
    world.advance(date(2028, 1, 1))
    assert world.count_marks() == 40 * 380
    assert world.today == world.year.days[-1]
    check(world)


REFUSED: list[Callable[[World], object]] = [
    lambda world: world.join(on=date(2027, 9, 1)),
    lambda world: world.join(year_group="Year 6"),
    lambda world: world.join(surname=" "),
    lambda world: world.leave(999),
    lambda world: world.leave(1, date(2026, 8, 31)),
    lambda world: world.rejoin(1),
    lambda world: world.rename(1),
    lambda world: world.rename(1, forename=""),
    lambda world: world.rename(999, forename="A"),
    lambda world: world.correct_mark(1, date(2026, 9, 12), "AM", "/"),
    lambda world: world.correct_mark(1, TODAY, "AM", "/"),
    lambda world: world.correct_mark(1, date(2026, 9, 14), "AM", "A"),
    lambda world: world.rekey(999, 1_000),
    lambda world: world.rebuild_timetable(date(2025, 9, 1)),
]


@pytest.mark.parametrize("edit", REFUSED)
def test_a_refused_edit_changes_nothing(world: World, edit: Callable[[World], object]) -> None:
    before = (digest(world), world.revision)
    with pytest.raises(EditRefused):
        edit(world)
    assert (digest(world), world.revision) == before


PUPILS = st.integers(1, 26)
DAYS = st.dates(date(2026, 9, 1), date(2027, 7, 1)).map(date.isoformat)
TEXTS = st.sampled_from(["Zoë", "O'Brien", "Lloyd-Jones"])
YEARS = st.sampled_from([f"Year {year}" for year in range(7, 14)])


def _op(name: str, **arguments: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({"op": st.just(name), **arguments})


EDITS = st.one_of(
    _op("join", on=DAYS, year_group=YEARS),
    _op("leave", pupil=PUPILS, on=DAYS),
    _op("rejoin", pupil=PUPILS, on=DAYS),
    _op("rename", pupil=PUPILS, surname=TEXTS),
    _op("move_group", pupil=PUPILS, from_group=st.integers(1, 60), to_group=st.integers(1, 60), on=DAYS),
    _op(
        "correct_mark",
        pupil=PUPILS,
        date=DAYS,
        session=st.sampled_from(["AM", "PM"]),
        code=st.sampled_from(["I", "Y4", "/"]),
    ),
    _op("merge", loser=PUPILS, survivor=PUPILS),
    _op("rekey", pupil=PUPILS, new_number=st.integers(1, 40)),
    _op("rebuild_timetable", on=DAYS),
    _op("advance", to=DAYS),
    _op("add_contact", pupil=PUPILS, relationship_code=TEXTS, surname=TEXTS),
    _op("link_contact", pupil=PUPILS, contact=st.integers(1, 45), relationship_code=TEXTS),
    _op("unlink_contact", pupil=PUPILS, contact=st.integers(1, 45)),
    _op(
        "record_behaviour",
        pupil=PUPILS,
        event_type=st.integers(1, 8),
        occurred_at=st.just("2026-10-05T09:00"),
    ),
    _op(
        "record_result", pupil=PUPILS, assessment=st.just("Reading age"), result=TEXTS, term=st.just("Autumn")
    ),
    _op("record_mark", pupil=PUPILS, date=DAYS, code=st.just("L"), session=st.just("PM")),
    _op("record_mark", pupil=PUPILS, date=DAYS, code=st.just("/"), period=st.integers(1, 70)),
    _op("withdraw_consent", pupil=PUPILS),
    _op("grant_consent", pupil=PUPILS),
)


@settings(max_examples=40)
@given(st.integers(0, 3), st.lists(EDITS, max_size=8))
def test_no_sequence_of_edits_makes_a_world_inconsistent(seed: int, edits: list[dict[str, object]]) -> None:
    world = World.build(seed, pupils=20, marks_until=TODAY)
    for edit in edits:
        revision = world.revision
        try:
            world.apply(edit)
        except EditRefused:
            assert world.revision == revision
        else:
            assert world.revision == revision + 1
    check(world)
