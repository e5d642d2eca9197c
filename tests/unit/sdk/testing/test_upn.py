"""Check characters of UPNs and ULNs agree with numbers known to be good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate_sdk.testing.upn import (
    ALPHABET,
    check_letter,
    is_valid_uln,
    is_valid_upn,
    permanent_upn,
    temporary_upn,
    uln,
)

GOOD = ["R201100018042", "T20110001804V", "X00180001701A", "R674123101121", "H801200001001"]


@pytest.mark.parametrize("upn", GOOD)
def test_known_upns_are_valid(upn: str) -> None:
    assert is_valid_upn(upn)
    assert check_letter(upn[1:]) == upn[0]


@pytest.mark.parametrize("upn", GOOD)
def test_any_other_check_letter_is_wrong(upn: str) -> None:
    assert not any(is_valid_upn(letter + upn[1:]) for letter in ALPHABET if letter != upn[0])


@pytest.mark.parametrize(
    "upn", ["", "R20110001804", "I201100018042", "r201100018042", "R2011000180420", "R201100018O42"]
)
def test_what_has_not_the_form_is_no_upn(upn: str) -> None:
    assert not is_valid_upn(upn)


@given(st.integers(1_000_000, 9_999_999), st.integers(2000, 2099), st.integers(1, 999), st.integers(0, 2299))
def test_made_upns_are_valid(dfe_number: int, year: int, serial: int, temporary: int) -> None:
    assert is_valid_upn(permanent_upn(dfe_number, year, serial))
    made = temporary_upn(dfe_number, year, temporary)
    assert is_valid_upn(made)
    assert made[-1].isalpha()


def test_made_upns_are_the_known_ones() -> None:
    assert permanent_upn(2_011_000, 18, 42) == "R201100018042"
    assert temporary_upn(2_011_000, 18, 100 * ALPHABET.index("V") + 4) == "T20110001804V"


@pytest.mark.parametrize("number", ["0000000042", "1000000000"])
def test_known_ulns_are_valid(number: str) -> None:
    assert is_valid_uln(number)


def test_digits_without_a_valid_remainder_make_no_uln() -> None:
    assert uln(0) is None
    assert not is_valid_uln("0000000000")
    assert not is_valid_uln("0000000043")
    assert not is_valid_uln("42")
