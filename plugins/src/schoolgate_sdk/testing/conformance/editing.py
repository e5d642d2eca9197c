"""What happens in a school while a connector looks on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from schoolgate_sdk.testing.upn import permanent_upn
from schoolgate_sdk.testing.world import World


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that happens: ``make(world)`` lets it happen, after ``before(world)`` where that is given.

    ``keeps_keys`` says that nobody's key changes.
    """

    name: str
    says: str
    make: Callable[[World], object]
    keeps_keys: bool = True
    before: Callable[[World], object] | None = None

    def prepare(self, world: World) -> None:
        """Let happen what has to have happened before."""
        if self.before is not None:
            self.before(world)

    def happen(self, world: World) -> None:
        """Let all of it happen."""
        self.prepare(world)
        self.make(world)


def _pupil(world: World, index: int) -> int:
    """Return the number of a pupil, counted from the first one; those named here are kept apart by index."""
    return list(world.pupils)[index]


def _join(world: World) -> None:
    world.join(forename="Zoë", surname="O'Brien-Ní Bhriain")


def _leave(world: World) -> None:
    world.leave(_pupil(world, 0), on=world.today + timedelta(days=7))


def _leave_at_once(world: World) -> None:
    world.leave(_pupil(world, 1), on=world.today)


def _have_left(world: World) -> None:
    world.leave(_pupil(world, 2), on=world.today - timedelta(days=7))


def _rejoin(world: World) -> None:
    world.rejoin(_pupil(world, 2), on=world.today)


def _rename(world: World) -> None:
    world.rename(_pupil(world, 3), surname='Ó "Briain" <& Sons>', preferred_forename="Bríd\u2019s")


def _change_upn(world: World) -> None:
    world.change_upn(_pupil(world, 4), permanent_upn(world.school.dfe_number, 2026, 987))


def _move_group(world: World) -> None:
    for pupil, group in sorted(world.tutor_groups().items()):
        others = [
            other.number
            for other in world.groups.values()
            if other.type_code == group.type_code and other.number != group.number
        ]
        if others and pupil != _pupil(world, 8):
            world.move_group(pupil, group.number, others[0], on=world.today)
            return


def _correct_mark(world: World) -> None:
    mark = next(iter(world.marks(pupils=[_pupil(world, 5)])))
    world.correct_mark(mark.pupil, mark.date, mark.session, "C1", 'Filming at "St Mary\'s"')


def _merge(world: World) -> None:
    world.merge(_pupil(world, 6), _pupil(world, 7))


def _rekey(world: World) -> None:
    world.rekey(_pupil(world, 8), 70_001)


def _rebuild_timetable(world: World) -> None:
    world.rebuild_timetable(on=world.today + timedelta(days=3))


def _advance(world: World) -> None:
    world.advance(_monday_after(world.today))


def _monday_after(day: date) -> date:
    return day + timedelta(days=7 - day.weekday())


def _contacts_of(world: World, pupil: int) -> list[int]:
    return [contact for owner, contact in world.contact_links if owner == pupil]


def _add_contact(world: World) -> None:
    world.add_contact(_pupil(world, 9), "PAF", "Ó Súilleabháin", forename="Pádraig", email="p@example.org")


def _share_contact(world: World) -> None:
    """Let a contact be another pupil's too, with nothing the same but the person."""
    [contact, *_] = _contacts_of(world, _pupil(world, 9))
    sharing = next(
        p for p in world.pupils if (p, contact) not in world.contact_links and p > _pupil(world, 9)
    )
    world.link_contact(
        sharing, contact, relationship_code="CAR", priority=1, parental_responsibility=False, court_order=True
    )


def _change_contact(world: World) -> None:
    [contact, *_] = _contacts_of(world, _pupil(world, 10))
    world.change_contact(contact, surname="Okonkwo-Reid", telephone="020 7946 0000")


def _unlink_contact(world: World) -> None:
    pupil = _pupil(world, 11)
    world.unlink_contact(pupil, _contacts_of(world, pupil)[0])


def _record_behaviour(world: World) -> None:
    at = datetime.combine(world.year.days[3], time(10, 5))
    [group, *_] = [held.group for held in world.memberships.values() if held.pupil == _pupil(world, 12)]
    world.record_behaviour(
        _pupil(world, 12), next(iter(world.behaviour_types)), at, points=3, group=group, comment="Read aloud"
    )


def _correct_behaviour(world: World) -> None:
    world.correct_behaviour(next(iter(world.behaviour)), points=-7, comment='Said "sorry" <at once>')


def _delete_behaviour(world: World) -> None:
    world.delete_behaviour(list(world.behaviour)[1])


def _record_result(world: World) -> None:
    subject = next(iter(world.subjects))
    world.record_result(_pupil(world, 13), "Baseline", "7+", subject=subject, is_grade=True)


def _record_lesson_mark(world: World) -> None:
    _mark_a_lesson(world, _pupil(world, 14))


def _mark_a_lesson(world: World, pupil: int) -> None:
    day = world.year.days[4]
    lesson = next(
        period.number
        for period in world.periods.values()
        if period.type_code == "PERIOD" and period.weekday == day.isoweekday()
    )
    world.record_mark(pupil, day, "L", period=lesson, comment="Bus")


def _withdraw_consent(world: World) -> None:
    world.withdraw_consent(_pupil(world, 15))


def _have_no_consent(world: World) -> None:
    world.withdraw_consent(_pupil(world, 16))


def _grant_consent(world: World) -> None:
    world.grant_consent(_pupil(world, 16))


def small_school(world: World) -> World:
    """Return the world with results and a lesson's mark, which come later: no rows prove nothing."""
    subjects = list(world.subjects)
    for place, pupil in enumerate(list(world.pupils)[17:23]):
        world.record_result(pupil, "Autumn baseline", f"{place + 1}", subject=subjects[place], is_grade=True)
    world.record_result(_pupil(world, 17), "Reading age", "11:04", is_grade=False)
    _mark_a_lesson(world, _pupil(world, 18))
    return world


EDITS: tuple[Edit, ...] = (
    Edit("join", "A pupil who joins arrives, with everything of theirs.", _join),
    Edit("leave", "A pupil who is going to leave has an end.", _leave),
    Edit("leave_at_once", "A pupil who left is no longer shown as being there.", _leave_at_once),
    Edit("rejoin", "A pupil who left and came back is there again.", _rejoin, before=_have_left),
    Edit("rename", "Names change, whatever characters are in them.", _rename),
    Edit("change_upn", "Another UPN is no other pupil.", _change_upn),
    Edit("move_group", "A pupil who moves ends one membership and begins another.", _move_group),
    Edit("correct_mark", "A corrected mark arrives with its comment.", _correct_mark),
    Edit("merge", "Of two pupils who are one, one is left.", _merge, keeps_keys=False),
    Edit("rekey", "A pupil under another number is there under that.", _rekey, keeps_keys=False),
    Edit("rebuild_timetable", "A new timetable arrives, with the end of the old.", _rebuild_timetable),
    Edit("add_contact", "A further contact arrives, and what it is to the pupil.", _add_contact),
    Edit("share_contact", "A contact of two pupils is another thing to each of them.", _share_contact),
    Edit("change_contact", "A contact changes, for every pupil who shares it.", _change_contact),
    Edit("unlink_contact", "A contact is taken from a pupil.", _unlink_contact),
    Edit("record_behaviour", "A behaviour event arrives.", _record_behaviour),
    Edit("correct_behaviour", "A corrected behaviour event arrives.", _correct_behaviour),
    Edit("delete_behaviour", "A deleted behaviour event is gone.", _delete_behaviour),
    Edit("record_result", "An assessment result arrives.", _record_result),
    Edit("record_lesson_mark", "A mark of a lesson arrives.", _record_lesson_mark),
    Edit("withdraw_consent", "Without consent, nothing of a pupil is shown.", _withdraw_consent),
    Edit("grant_consent", "With it again, all is shown.", _grant_consent, before=_have_no_consent),
    Edit("advance", "Further registers arrive.", _advance),
)
"""Every edit, on pupils of its own, so that they can be made one after another as well."""
