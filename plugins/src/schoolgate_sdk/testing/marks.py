"""Drawing a pupil's year of marks: presence, spells of absence, lateness, activities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from random import Random

from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.registers import BYTE_OF, Register
from schoolgate_sdk.testing.school_year import SchoolYear


@dataclass(frozen=True, slots=True)
class _Spell:
    """A way of being away: how often of a thousand spells, for how many sessions, with which comments."""

    code: str
    weight: int
    lengths: tuple[int, ...]
    comments: tuple[str, ...] = ()


_SPELLS = (
    _Spell(
        "I", 520, (1, 2, 2, 4, 6, 10), ("Rang in – flu", "Migraine", "Sick bug, 48h rule", "Énorme rhume")
    ),
    _Spell("M", 130, (1, 1, 1, 2), ("Dentist 10:15", "Orthodontist", "GP appointment")),
    _Spell("O", 60, (1, 2, 4)),
    _Spell("U", 50, (1,), ("Missed the bus",)),
    _Spell("G", 30, (4, 10), ("Letter sent home",)),
    _Spell("V", 60, (2, 2, 6), ("Geography fieldwork", "Museum trip")),
    _Spell("P", 25, (1, 2), ("County trials",)),
    _Spell("C", 25, (1, 2), ("Funeral",)),
    _Spell("E", 20, (2, 4, 6)),
    _Spell("R", 20, (2,), ("Eid", "Rosh Hashanah")),
    _Spell("B", 15, (2,), ("Taster day",)),
    _Spell("K", 5, (10, 20)),
    _Spell("C1", 5, (2, 4), ("Licensed performance",)),
    _Spell("C2", 5, (9, 19)),
    _Spell("J1", 8, (1,), ("Apprenticeship interview",)),
    _Spell("T", 4, (10, 20)),
    _Spell("Q", 4, (2,)),
    _Spell("Y1", 6, (1, 2), ("School bus broke down",)),
    _Spell("Y6", 4, (4,)),
    _Spell("Y7", 4, (2,)),
)
_WEIGHTS = [spell.weight for spell in _SPELLS]
_LATE = BYTE_OF["L"]
_EXPLAINED_LATER = frozenset({"I", "M", "C", "O"})
_STUDY_LEAVE_BEGINS = (5, 15)
_WORK_EXPERIENCE_BEGINS = (7, 1)


def draw_register(
    seed: int,
    label: str,
    year: SchoolYear,
    year_of_study: str | None,
    elsewhere: frozenset[int] = frozenset(),
) -> Register:
    """Return a whole year of marks, drawn from ``seed`` and ``label``.

    ``year_of_study`` is the National Curriculum year: Years 11 and 13 end in study leave, Year 10 in work
    experience. On the weekdays ``elsewhere`` (0 = Monday) a dually registered pupil is at the other school.
    """
    random = stream(seed, "marks", label)
    register = Register(bytearray([BYTE_OF["/"], BYTE_OF["\\"]] * len(year.days)))
    if not year.days:
        return register
    _draw_lateness(random, register)
    _draw_spells(random, register)
    _draw_disruption(seed, random, register, year)
    if year_of_study in {"11", "13"}:
        _overwrite(register, _from_day(year, _STUDY_LEAVE_BEGINS), len(register.codes), "S")
    elif year_of_study == "10":
        begin = _from_day(year, _WORK_EXPERIENCE_BEGINS)
        _overwrite(register, begin, min(begin + 10, len(register.codes)), "W")
    for place, day in enumerate(year.days):
        if day.weekday() in elsewhere:
            _overwrite(register, 2 * place, 2 * place + 2, "D")
    return register


def _draw_lateness(random: Random, register: Register) -> None:
    for _ in range(int(random.expovariate(1 / 5))):
        register.codes[random.randrange(len(register.codes))] = _LATE


def _draw_spells(random: Random, register: Register) -> None:
    """Add spells of absence up to the pupil's own rate: about 6% on average, far more for a few."""
    sessions = len(register.codes)
    left = int(random.betavariate(1.1, 16) * sessions)
    while left > 0:
        spell = random.choices(_SPELLS, _WEIGHTS)[0]
        begin = random.randrange(sessions)
        end = min(begin + random.choice(spell.lengths), sessions)
        _overwrite(register, begin, end, spell.code)
        if spell.code in _EXPLAINED_LATER and chance(random, 0.4):
            register.unexplained.update(range(begin, end))
        if spell.comments and chance(random, 0.3):
            register.comments[begin] = random.choice(spell.comments)
        left -= end - begin


def _draw_disruption(seed: int, random: Random, register: Register, year: SchoolYear) -> None:
    """Let a fifth of the pupils miss the one day of the year on which snow stopped the buses."""
    day = stream(seed, "snow").randrange(len(year.days))
    if chance(random, 0.2):
        _overwrite(register, 2 * day, 2 * day + 2, "Y2")


def _overwrite(register: Register, begin: int, end: int, code: str) -> None:
    register.clear(begin, end)
    register.codes[begin:end] = bytes([BYTE_OF[code]]) * (end - begin)


def _from_day(year: SchoolYear, month_and_day: tuple[int, int]) -> int:
    month, day = month_and_day
    return year.index_from(date(year.days[-1].year, month, day))
