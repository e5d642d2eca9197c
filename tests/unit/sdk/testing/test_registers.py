"""A register keeps a byte per session, and shows N until the reason has come in."""

from __future__ import annotations

from datetime import date

from schoolgate_sdk.testing.marks import draw_register
from schoolgate_sdk.testing.registers import BYTE_OF, CODES, Register, Registers
from schoolgate_sdk.testing.school_year import school_year

YEAR = school_year(date(2026, 9, 1))
PRESENT, ILL, LATE = BYTE_OF["/"], BYTE_OF["I"], BYTE_OF["L"]


def test_every_code_has_a_byte_of_its_own() -> None:
    assert {CODES[byte]: byte for byte in BYTE_OF.values()} == BYTE_OF
    assert {"Y7", "C1", "#", "H"} <= BYTE_OF.keys()


def test_a_reason_that_came_in_later_is_n_for_five_days() -> None:
    register = Register(bytearray([PRESENT, ILL, PRESENT]), {1})
    assert register.visible(1) == bytes([PRESENT])
    assert register.visible(2) == bytes([PRESENT, BYTE_OF["N"]])
    padded = Register(bytearray([PRESENT, ILL] + [PRESENT] * 12), {1})
    assert padded.visible(11)[1] == BYTE_OF["N"]
    assert padded.visible(12)[1] == ILL


def test_clearing_takes_everything_of_the_sessions_away() -> None:
    register = Register(bytearray([PRESENT, ILL, ILL, LATE]), {1, 2}, {2: "Flu", 3: "Bus"})
    register.clear(1, 3)
    assert register.codes == bytes([PRESENT, 0, 0, LATE])
    assert (register.unexplained, register.comments) == (set(), {3: "Bus"})


def test_filling_keeps_what_is_there() -> None:
    register = Register(bytearray([PRESENT, 0, 0]))
    register.fill_from(Register(bytearray([ILL, ILL, LATE]), {0, 1}, {0: "Flu", 2: "Bus"}))
    assert register.codes == bytes([PRESENT, ILL, LATE])
    assert (register.unexplained, register.comments) == ({1}, {2: "Bus"})


def test_windows_are_half_open_and_end_where_registers_are_taken() -> None:
    registers = Registers(YEAR, taken=6)
    registers.of = {2: Register(bytearray([PRESENT] * 380)), 1: Register(bytearray([PRESENT] * 380))}
    assert [mark.pupil for mark in registers.marks(None, None)] == [1] * 6 + [2] * 6
    second, third = YEAR.days[1], YEAR.days[2]
    assert {mark.date for mark in registers.marks(second, third)} == {second}
    assert registers.count(second, third) == 4
    assert registers.count(third, None) == 4
    assert registers.count(YEAR.days[3], None) == registers.count(third, second) == 0
    assert {mark.pupil for mark in registers.marks(None, None, [2, 3])} == {2}


def test_a_drawn_year_depends_on_seed_and_label_alone() -> None:
    one, again = (draw_register(5, "1", YEAR, "11") for _ in range(2))
    assert one == again
    assert one != draw_register(5, "2", YEAR, "11")
    assert one != draw_register(6, "1", YEAR, "11")
    assert len(one.codes) == 380
    assert one.codes[-1] == BYTE_OF["S"]
    assert 0 not in one.codes


def test_a_dually_registered_pupil_is_elsewhere_on_fixed_days() -> None:
    drawn = draw_register(5, "1", YEAR, "8", frozenset({1, 3}))
    elsewhere = {
        YEAR.sessions()[index][0].weekday() for index, code in enumerate(drawn.codes) if CODES[code] == "D"
    }
    assert elsewhere == {1, 3}
