"""Making the groups of a school and putting the pupils into them."""

from __future__ import annotations

from datetime import date
from math import ceil
from random import Random

from schoolgate_sdk.testing.curriculum import CORE_SIZE, STAGES, SUBJECTS, Stage
from schoolgate_sdk.testing.entities import Group, GroupTypeCode, Membership
from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.state import Block, WorldState

_HOUSES = ("Austen", "Brunel", "Curie", "Hawking", "Seacole", "Turing")
_TUTOR_GROUP_SIZE = 28
_CLUBS = (
    "Choir",
    "Chess Club",
    "Netball",
    "Football",
    "Rugby",
    "Athletics",
    "Drama Club",
    "Orchestra",
    "Jazz Band",
    "Coding Club",
    "Debating",
    "Eco Club",
    "Duke of Edinburgh Bronze",
    "Duke of Edinburgh Silver",
    "Book Club",
    "Homework Club",
    "Reading Recovery",
    "Numeracy Catch-up",
)
_SETTED = ("En", "Ma", "Sc", "Hi", "Gg")


class _Grouping:
    """Groups and memberships of one world while they are being made."""

    def __init__(self, state: WorldState) -> None:
        self.state = state
        self.random = stream(state.seed, "groups")
        self.since = state.year.valid_from

    def group(
        self, name: str, type_code: GroupTypeCode, description: str | None = None, subject: str | None = None
    ) -> int:
        number = self.state.take_number("group")
        self.state.groups[number] = Group(
            number, name, type_code, self.since, description=description, subject=subject
        )
        return number

    def join(self, group: int, pupil: int, since: date | None = None, until: date | None = None) -> None:
        self.state.add_membership(Membership(group, pupil, since or self.since, until))


def add_groups(state: WorldState) -> None:
    """Add year groups, houses, tutor groups, classes, bands, clubs and lists, with their members."""
    grouping = _Grouping(state)
    houses = [grouping.group(name, "HOUSE", f"{name} House") for name in _HOUSES]
    for year_group, year_of_study in state.year_groups.items():
        pupils = [pupil.number for pupil in state.pupils.values() if pupil.year_group == year_group]
        grouping.random.shuffle(pupils)
        number = grouping.group(year_group, "YEARGRP", f"All of {year_group}")
        for pupil in pupils:
            grouping.join(number, pupil)
        stage = STAGES[year_of_study or "7"]
        _add_tutor_groups(grouping, year_of_study or "7", pupils, houses)
        state.blocks[year_group] = _add_classes(grouping, year_of_study or "7", stage, pupils)
        if "En" in stage.core:
            _deal(grouping, [f"{year_group} Band {band}" for band in "XY"], pupils)
    everybody = list(state.pupils)
    grouping.random.shuffle(everybody)
    _deal(grouping, [f"Lunch sitting {sitting}" for sitting in (1, 2, 3)], everybody)
    _deal(grouping, [f"Muster point {letter}" for letter in "ABCDEF"], everybody)
    _add_clubs(grouping, everybody)


def _add_tutor_groups(grouping: _Grouping, year: str, pupils: list[int], houses: list[int]) -> None:
    """Add tutor groups; each belongs to a house. A few pupils have no tutor group."""
    count = max(1, ceil(len(pupils) / _TUTOR_GROUP_SIZE))
    tutor_groups = [grouping.group(f"{year}{_letters(place)}", "TUTORGRP") for place in range(count)]
    for place, pupil in enumerate(pupils):
        if not chance(grouping.random, 0.005):
            grouping.join(tutor_groups[place % count], pupil)
        grouping.join(houses[place % count % len(houses)], pupil)


def _letters(place: int) -> str:
    """Return A, B … Z, AA, AB … for 0, 1 …"""
    more, letter = divmod(place, 26)
    return (_letters(more - 1) if more else "") + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[letter]


def _add_classes(grouping: _Grouping, year: str, stage: Stage, pupils: list[int]) -> list[Block]:
    """Add the classes of a year group and return what meets at the same time."""
    blocks: list[Block] = []
    sets = ceil(len(pupils) / CORE_SIZE)
    for subject, lessons in stage.core.items():
        classes = [_class(grouping, f"{year}{subject}{place + 1}", year, subject) for place in range(sets)]
        shift = grouping.random.randrange(sets) if sets else 0
        for place, pupil in enumerate(pupils):
            setted = place * sets // len(pupils)
            _join_class(grouping, classes, (setted + shift) % sets, pupil, movable=subject in _SETTED)
        blocks.append(Block(lessons, tuple(classes)))
    option_blocks = (
        _add_option_block(grouping, year, stage, block, pupils) for block in range(stage.option_blocks)
    )
    return blocks + [Block(stage.option_lessons, classes) for classes in option_blocks]


def _add_option_block(
    grouping: _Grouping, year: str, stage: Stage, block: int, pupils: list[int]
) -> tuple[int, ...]:
    """Add the classes of one option block; in the sixth form most pupils leave one block free."""
    count = ceil(len(pupils) / stage.option_size)
    taught = [stage.options[(block * 5 + place) % len(stage.options)] for place in range(count)]
    letter = "ABCDEFGH"[block]
    classes = [
        _class(grouping, f"{year}{letter}/{subject}{place + 1}", year, subject)
        for place, subject in enumerate(taught)
    ]
    order = list(pupils)
    grouping.random.shuffle(order)
    for place, pupil in enumerate(order):
        if stage.free_block and pupil % 5 and pupil % stage.option_blocks == block:
            continue
        _join_class(grouping, classes, place % count, pupil, movable=stage.option_blocks == 1)
    return tuple(classes)


def _class(grouping: _Grouping, name: str, year: str, subject: str) -> int:
    return grouping.group(name, "CLASS", f"Year {year} {SUBJECTS[subject]}", subject)


def _join_class(grouping: _Grouping, classes: list[int], place: int, pupil: int, *, movable: bool) -> None:
    """Put a pupil into a class, a third of them after some weeks in another set of the same subject."""
    if movable and len(classes) > 1 and chance(grouping.random, 0.42):
        days = grouping.state.year.days
        moved = days[grouping.random.randrange(10, 60)]
        grouping.join(classes[place - 1], pupil, until=moved)
        grouping.join(classes[place], pupil, since=moved)
    else:
        grouping.join(classes[place], pupil)


def _deal(grouping: _Grouping, group_names: list[str], pupils: list[int]) -> None:
    groups = [grouping.group(name, "OTHER") for name in group_names]
    for place, pupil in enumerate(pupils):
        grouping.join(groups[place % len(groups)], pupil)


def _add_clubs(grouping: _Grouping, pupils: list[int]) -> None:
    """Add clubs; pupils go to three on average, and leave about one in five of them during the year."""
    random: Random = grouping.random
    clubs = [grouping.group(name, "OTHER", f"{name} (after school)") for name in _CLUBS]
    days = grouping.state.year.days
    for pupil in pupils:
        for club in random.sample(clubs, random.choice((1, 2, 3, 4, 5))):
            begins = random.randrange(len(days) // 2)
            ends = begins + random.randrange(20, 90)
            until = days[ends] if chance(random, 0.2) else None
            grouping.join(club, pupil, since=days[begins], until=until)
