"""The school's registers: one byte per pupil and session, expanded to marks while they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date

from schoolgate_sdk.testing.attendance_codes import CURRENT_CODES, RETIRED_CODES
from schoolgate_sdk.testing.entities import Mark
from schoolgate_sdk.testing.school_year import SchoolYear

CODES: tuple[str, ...] = ("", *CURRENT_CODES, *RETIRED_CODES)
"""Attendance codes by the byte that stands for them; 0 stands for no mark."""

BYTE_OF: dict[str, int] = {code: byte for byte, code in enumerate(CODES) if code}
"""The byte that stands for each code."""

_UNEXPLAINED = BYTE_OF["N"]
_SETTLED_AFTER = 10
"""Sessions after which an N is replaced by the reason: five school days."""


@dataclass(slots=True)
class Register:
    """One pupil's sessions of the year.

    ``unexplained`` are the sessions whose reason came in later: they show N at first. ``comments`` are rare.
    """

    codes: bytearray
    unexplained: set[int] = field(default_factory=set[int])
    comments: dict[int, str] = field(default_factory=dict[int, str])

    def clear(self, begin: int, end: int) -> None:
        """Remove the marks of the sessions from ``begin`` up to before ``end``."""
        self.codes[begin:end] = bytes(end - begin)
        self.unexplained = {index for index in self.unexplained if not begin <= index < end}
        self.comments = {index: text for index, text in self.comments.items() if not begin <= index < end}

    def fill_from(self, other: Register) -> None:
        """Take over the marks of ``other`` wherever this register has none."""
        for index, code in enumerate(other.codes):
            if code and not self.codes[index]:
                self.codes[index] = code
                if index in other.unexplained:
                    self.unexplained.add(index)
                if index in other.comments:
                    self.comments[index] = other.comments[index]

    def visible(self, taken: int) -> bytes:
        """Return the codes as they stand when ``taken`` sessions of the year have been registered."""
        codes = self.codes[:taken]
        for index in self.unexplained:
            if taken - _SETTLED_AFTER <= index < taken:
                codes[index] = _UNEXPLAINED
        return bytes(codes)


class Registers:
    """Every pupil's register. ``taken`` is the number of sessions of the year that have been registered."""

    def __init__(self, year: SchoolYear, taken: int) -> None:
        self.taken = taken
        self.of: dict[int, Register] = {}
        self._year = year
        self._sessions = year.sessions()

    def marks(
        self, date_from: date | None, date_to: date | None, pupils: Collection[int] | None = None
    ) -> Iterator[Mark]:
        """Yield the marks of a window by pupil number, then in the order of time."""
        begin, end = self._window(date_from, date_to)
        sessions = self._sessions[begin:end]
        for pupil in sorted(self.of if pupils is None else self.of.keys() & pupils):
            register = self.of[pupil]
            comments = register.comments
            codes = register.visible(self.taken)[begin:end]
            for index, ((day, session), code) in enumerate(zip(sessions, codes, strict=True), start=begin):
                if code:
                    yield Mark(pupil, day, session, CODES[code], comments.get(index))

    def count(self, date_from: date | None, date_to: date | None) -> int:
        """Return the number of marks of a window."""
        begin, end = self._window(date_from, date_to)
        return sum(end - begin - register.codes.count(0, begin, end) for register in self.of.values())

    def _window(self, date_from: date | None, date_to: date | None) -> tuple[int, int]:
        begin = self._year.index_from(date_from) if date_from else 0
        end = min(self.taken, self._year.index_from(date_to) if date_to else self.taken)
        return min(begin, end), end
