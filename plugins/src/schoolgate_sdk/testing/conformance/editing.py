"""What happens in a school while a connector looks on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from schoolgate_sdk.testing.upn import permanent_upn
from schoolgate_sdk.testing.world import World


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that happens: ``make(world)`` lets it happen. ``keeps_keys``: nobody's key changes."""

    name: str
    says: str
    make: Callable[[World], object]
    keeps_keys: bool = True


def _pupil(world: World, index: int) -> int:
    """Return the number of a pupil, counted from the first one; those named here are kept apart by index."""
    return list(world.pupils)[index]


def _join(world: World) -> None:
    world.join(forename="Zoë", surname="O'Brien-Ní Bhriain")


def _leave(world: World) -> None:
    world.leave(_pupil(world, 0), on=world.today + timedelta(days=7))


def _leave_at_once(world: World) -> None:
    world.leave(_pupil(world, 1), on=world.today)


def _rejoin(world: World) -> None:
    pupil = _pupil(world, 2)
    world.leave(pupil, on=world.today - timedelta(days=7))
    world.rejoin(pupil, on=world.today)


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


EDITS: tuple[Edit, ...] = (
    Edit("join", "A pupil who joins arrives, with everything of theirs.", _join),
    Edit("leave", "A pupil who is going to leave has an end.", _leave),
    Edit("leave_at_once", "A pupil who left is no longer shown as being there.", _leave_at_once),
    Edit("rejoin", "A pupil who left and came back is there under the same key.", _rejoin),
    Edit("rename", "Names change, whatever characters are in them.", _rename),
    Edit("change_upn", "Another UPN is no other pupil.", _change_upn),
    Edit("move_group", "A pupil who moves ends one membership and begins another.", _move_group),
    Edit("correct_mark", "A corrected mark arrives with its comment.", _correct_mark),
    Edit("merge", "Of two pupils who are one, one is left.", _merge, keeps_keys=False),
    Edit("rekey", "A pupil under another number is there under that.", _rekey, keeps_keys=False),
    Edit("rebuild_timetable", "A new timetable arrives, with the end of the old.", _rebuild_timetable),
    Edit("advance", "Further registers arrive.", _advance),
)
"""Every edit, on pupils of its own, so that they can be made one after another as well."""
