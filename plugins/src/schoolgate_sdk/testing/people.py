"""Drawing the pupils, their contacts, and the links between them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from random import Random

from schoolgate_sdk.testing import names, upn
from schoolgate_sdk.testing.curriculum import YEAR_SHARES
from schoolgate_sdk.testing.entities import Contact, ContactLink, Enrolment, Pupil
from schoolgate_sdk.testing.marks import draw_register
from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.state import WorldState

_ETHNICITIES = ("WBRI", "WOTH", "APKN", "AIND", "ABAN", "BAFR", "BCRB", "MWAS", "MOTH", "CHNE", "NOBT")
_ETHNICITY_WEIGHTS = (62, 6, 5, 4, 2, 5, 2, 3, 3, 1, 2)
_FEEDER_SCHOOLS = 8
_SERIALS = 900
_PARENTS = {"F": ("PAM", 0.93, 0.97), "M": ("PAF", 0.82, 0.78)}
_OTHERS = (("F", "STM"), ("M", "STF"), ("F", "FAM"), ("M", "FAM"), ("F", "CAR"), ("F", "CHM"), ("M", "SWR"))


def add_pupils(state: WorldState, count: int) -> None:
    """Add ``count`` pupils on roll for the whole year, with enrolments, contacts and marks."""
    random = stream(state.seed, "pupils")
    years = _years_of_study(count)
    places = list(range(count))
    random.shuffle(places)
    drawn: dict[int, Pupil] = {}
    households: list[list[int]] = []
    while places:
        size = random.choices((1, 2, 3), (70, 24, 6))[0]
        household, places = places[:size], places[size:]
        households.append(household)
        family = names.surname(random)
        births: dict[str, date] = {}
        for place in household:
            pupil = draw_pupil(state, random, place + 1, years[place], family)
            birth = births.setdefault(years[place], pupil.date_of_birth or state.year.valid_from)
            drawn[place] = replace(pupil, date_of_birth=birth)
    for place in range(count):
        state.pupils[place + 1] = drawn[place]
    state.numbers["pupil"] = count
    for household in households:
        add_contacts(state, random, [drawn[place].number for place in sorted(household)])
    _enrol(state, random)


def draw_pupil(
    state: WorldState, random: Random, number: int, year_of_study: str | None, family: str
) -> Pupil:
    """Return a pupil of a year of study; siblings share ``family``, mostly. Some values are missing."""
    start = state.year.valid_from
    sex = random.choice("FM")
    forename = names.forename(random, sex)
    surname = names.surname(random) if chance(random, 0.06) else family
    older = int(year_of_study or 7) + 5
    eal = chance(random, 0.18)
    premium = chance(random, 0.26)
    return Pupil(
        number=number,
        person_number=0,
        forename=forename,
        surname=surname,
        admission_number=f"{start.year - (older - 12):04d}{number:05d}",
        year_group=f"Year {year_of_study}",
        national_curriculum_year=year_of_study,
        upn=_draw_upn(state, random, number, start.year - older + 4),
        uln=_draw_uln(state, number) if older >= 14 else None,
        exam_number=f"{number:04d}" if older >= 15 else None,
        middle_names=names.forename(random, sex) if chance(random, 0.6) else None,
        preferred_forename=forename[:3] if chance(random, 0.08) else forename,
        preferred_surname=surname if chance(random, 0.9) else None,
        date_of_birth=start.replace(year=start.year - older) + timedelta(days=random.randrange(365)),
        sex_code=sex,
        email=None
        if chance(random, 0.03)
        else f"{names.ascii_letters(surname)}{number}@pupils.school.example",
        ethnicity_code=random.choices(_ETHNICITIES, _ETHNICITY_WEIGHTS)[0] if chance(random, 0.97) else None,
        sen_provision_code=random.choices(("N", "K", "E", None), (82, 12, 4, 2))[0],
        free_school_meals_ever_6=premium,
        english_additional_language=eal if chance(random, 0.98) else None,
        in_care=chance(random, 0.01),
        gifted_and_talented=chance(random, 0.08) if chance(random, 0.9) else None,
        pupil_premium=premium or chance(random, 0.02),
    )


def _years_of_study(count: int) -> list[str]:
    """Return a year of study per pupil, in the proportions of :data:`YEAR_SHARES`."""
    total = sum(YEAR_SHARES.values())
    years: list[str] = []
    reached = 0
    for year, share in YEAR_SHARES.items():
        reached += share
        years += [year] * (round(count * reached / total) - len(years))
    return years


def _draw_upn(state: WorldState, random: Random, number: int, year: int) -> str | None:
    """Return a UPN from one of the feeder schools; a few are temporary and a few missing."""
    fate = random.random()
    if fate < 0.01:
        return None
    authority, establishment = divmod(state.school.dfe_number, 10_000)
    if fate < 0.03:
        return upn.temporary_upn(state.school.dfe_number, state.year.valid_from.year, number % 2300)
    feeder, serial = number % _FEEDER_SCHOOLS, number // _FEEDER_SCHOOLS
    feeder += _FEEDER_SCHOOLS * (serial // _SERIALS)
    school = 10_000 * authority + 2_000 + (feeder + establishment) % 2_000
    return upn.permanent_upn(school, year, serial % _SERIALS + 1)


def _draw_uln(state: WorldState, number: int) -> str | None:
    first = 100_000_000 + (state.school.dfe_number * 131 + number * 17) % 800_000_000
    return upn.uln(first)


def add_contacts(state: WorldState, random: Random, pupils: list[int]) -> None:
    """Add the adults of a household and link each of them to its ``pupils``, not always in the same way."""
    family = state.pupils[pupils[0]].surname
    for sex, (relationship, present, responsible) in _PARENTS.items():
        if chance(random, present):
            contact = _add_contact(state, random, sex, family)
            for pupil in pupils:
                step = len(pupils) > 1 and chance(random, 0.12)
                code = {"PAM": "STM", "PAF": "STF"}[relationship] if step else relationship
                _link(state, random, pupil, contact, code, 0.2 if step else responsible)
    for _ in range(random.choices((0, 1, 2), (48, 36, 16))[0]):
        sex, relationship = random.choice(_OTHERS)
        contact = _add_contact(state, random, sex, names.surname(random))
        for pupil in pupils:
            if chance(random, 0.85) or pupil == pupils[0]:
                _link(state, random, pupil, contact, relationship, 0.05)


def _add_contact(state: WorldState, random: Random, sex: str, family: str) -> Contact:
    surname = family if chance(random, 0.8) else names.surname(random)
    forename = names.forename(random, sex) if chance(random, 0.97) else None
    number = state.take_number("contact")
    contact = Contact(
        number=number,
        person_number=0,
        surname=surname,
        title=names.title(random, sex) if chance(random, 0.9) else None,
        forename=forename,
        email=f"{names.ascii_letters(surname)}.{number}@mail.example" if chance(random, 0.85) else None,
        telephone=f"07700 900{random.randrange(1000):03d}" if chance(random, 0.95) else None,
    )
    state.contacts[number] = contact
    return contact


def _link(
    state: WorldState, random: Random, pupil: int, contact: Contact, relationship: str, responsible: float
) -> None:
    """Link a contact to a pupil; priorities repeat and miss, as schools enter them."""
    state.contact_links[pupil, contact.number] = ContactLink(
        pupil=pupil,
        contact=contact.number,
        relationship_code=relationship,
        priority=random.choices((1, 2, 3, None), (45, 35, 12, 8))[0],
        parental_responsibility=chance(random, responsible),
        lives_with=chance(random, 0.7) if chance(random, 0.95) else None,
        court_order=chance(random, 0.01),
        correspondence=chance(random, 0.85),
    )


def _enrol(state: WorldState, random: Random) -> None:
    """Enrol every pupil since joining the school, and two or more pupils dually."""
    year = state.year
    dual = set(random.sample(sorted(state.pupils), min(len(state.pupils), max(2, len(state.pupils) // 300))))
    for pupil in state.pupils.values():
        years_here = int(pupil.national_curriculum_year or 7) - 7
        if years_here >= 5 and chance(random, 0.25):
            years_here -= 5
        admitted = year.valid_from.replace(year=year.valid_from.year - years_here)
        if years_here and chance(random, 0.08):
            admitted += timedelta(days=random.randrange(20, 280))
        status = "M" if pupil.number in dual else "C"
        state.add_enrolment(Enrolment(pupil.number, admitted, status, pupil.year_group))
        elsewhere: frozenset[int] = frozenset()
        if pupil.number in dual:
            elsewhere = frozenset(random.sample(range(5), 2))
            first = year.days[random.randrange(10, 40)]
            state.add_enrolment(Enrolment(pupil.number, first, "S", pupil.year_group))
        state.registers.of[pupil.number] = draw_register(
            state.seed, str(pupil.number), year, pupil.national_curriculum_year, elsewhere
        )
