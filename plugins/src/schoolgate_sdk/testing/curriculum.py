"""What a secondary school teaches: subjects, and how many lessons of fifty a fortnight each gets."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

SUBJECTS = MappingProxyType(
    {
        "En": "English",
        "Ma": "Mathematics",
        "Sc": "Science",
        "Hi": "History",
        "Gg": "Geography",
        "Fr": "French",
        "Sp": "Spanish",
        "Ar": "Art and Design",
        "Mu": "Music",
        "Dr": "Drama",
        "Dt": "Design and Technology",
        "Co": "Computing",
        "Pe": "Physical Education",
        "Rs": "Religious Studies",
        "Ps": "PSHE",
        "Bi": "Biology",
        "Ch": "Chemistry",
        "Ph": "Physics",
        "Ec": "Economics",
        "Sg": "Sociology",
        "Py": "Psychology",
        "Bu": "Business",
    }
)
"""Every subject's code and name."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How year groups of a key stage are taught.

    ``core`` gives lessons a fortnight by subject, taken by everybody. In each of ``option_blocks`` a pupil
    takes one subject of ``options``, ``option_lessons`` a fortnight, in classes of up to ``option_size``.
    With ``free_block`` most pupils leave one of the blocks free.
    """

    core: MappingProxyType[str, int]
    options: tuple[str, ...]
    option_blocks: int
    option_lessons: int
    option_size: int
    free_block: bool = False


CORE_SIZE = 32
"""Largest class of a core subject."""

_KEY_STAGE_3 = Stage(
    core=MappingProxyType(
        {
            "En": 7,
            "Ma": 7,
            "Sc": 7,
            "Hi": 4,
            "Gg": 4,
            "Ar": 2,
            "Mu": 2,
            "Dt": 4,
            "Co": 2,
            "Pe": 4,
            "Rs": 3,
        }
    ),
    options=("Fr", "Sp"),
    option_blocks=1,
    option_lessons=4,
    option_size=32,
)
_KEY_STAGE_4 = Stage(
    core=MappingProxyType({"En": 9, "Ma": 8, "Sc": 10, "Pe": 4, "Ps": 3}),
    options=("Hi", "Gg", "Fr", "Sp", "Ar", "Mu", "Dr", "Dt", "Co", "Rs", "Bu"),
    option_blocks=4,
    option_lessons=4,
    option_size=26,
)
_KEY_STAGE_5 = Stage(
    core=MappingProxyType({"Ps": 2}),
    options=("En", "Ma", "Hi", "Gg", "Fr", "Sp", "Ar", "Dr", "Co", "Bi", "Ch", "Ph", "Ec", "Sg", "Py", "Bu"),
    option_blocks=4,
    option_lessons=9,
    option_size=14,
    free_block=True,
)

STAGES = MappingProxyType(
    {
        "7": _KEY_STAGE_3,
        "8": _KEY_STAGE_3,
        "9": _KEY_STAGE_3,
        "10": _KEY_STAGE_4,
        "11": _KEY_STAGE_4,
        "12": _KEY_STAGE_5,
        "13": _KEY_STAGE_5,
    }
)
"""The stage of each National Curriculum year that a secondary school has."""

YEAR_SHARES = MappingProxyType({"7": 2, "8": 2, "9": 2, "10": 2, "11": 2, "12": 1, "13": 1})
"""How the pupils are distributed over the years."""
