"""What comes out of a check, and what a check is."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from schoolgate_sdk.testing.conformance.bench import Bench


class Outcome(enum.Enum):
    """How a check ended."""

    PROVEN = "proven"
    WAIVED = "waived"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


class CheckFailed(Exception):
    """What a check asks for does not hold.

    Args:
        problem: what was seen, in a sentence.
        next_step: what the author does next.
    """

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(f"{problem}\n  Next: {next_step}")
        self.problem = problem
        self.next_step = next_step


class NotApplicable(Exception):
    """The check has nothing to look at; the text says why."""


class Waived(Exception):
    """The check is waived; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``run(bench)`` returns what was seen, in a few words, or raises one of the above."""

    id: str
    says: str
    run: Callable[[Bench], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one check.

    ``detail`` is what was seen, the reason, why, or what is wrong; ``next_step`` is given where it failed.
    """

    id: str
    says: str
    outcome: Outcome
    detail: str
    next_step: str = ""


def printable(text: str) -> str:
    """Return a text that any file can hold: half a surrogate pair, which none can, becomes its escape."""
    return text.encode(errors="backslashreplace").decode()


def printable_in(value: object) -> object:
    """Return what JSON can say with every text in it :func:`printable`."""
    match value:
        case str():
            return printable(value)
        case dict():
            return {name: printable_in(each) for name, each in cast("dict[str, object]", value).items()}
        case list():
            return [printable_in(each) for each in cast("list[object]", value)]
        case _:
            return value
