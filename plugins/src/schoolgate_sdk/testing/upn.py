"""Unique pupil numbers and unique learner numbers, with their check characters.

Rules: DfE, *Unique pupil numbers: guide for schools and local authorities*; Learning Records Service, ULN
check digit.
"""

from __future__ import annotations

import re

ALPHABET = "ABCDEFGHJKLMNPQRTUVWXYZ"
"""The letters of UPNs: no I, O or S."""

_UPN = re.compile(rf"[{ALPHABET}][0-9]{{11}}[0-9{ALPHABET}]")
_ULN = re.compile(r"[0-9]{10}")


def check_letter(body: str) -> str:
    """Return the first letter of the UPN whose other twelve characters are ``body``.

    Each character counts by its place (2 to 13) times its value; a letter's value is its index.
    """
    total = sum(
        place * (int(character) if character.isdigit() else ALPHABET.index(character))
        for place, character in enumerate(body, start=2)
    )
    return ALPHABET[total % len(ALPHABET)]


def permanent_upn(dfe_number: int, year: int, serial: int) -> str:
    """Return the UPN that a school gave as number ``serial`` (1 to 999) of the calendar year ``year``."""
    body = f"{dfe_number:07d}{year % 100:02d}{serial:03d}"
    return check_letter(body) + body


def temporary_upn(dfe_number: int, year: int, serial: int) -> str:
    """Return the temporary UPN number ``serial`` (0 to 2299) of a school in a year; it ends in a letter."""
    letter, digits = divmod(serial, 100)
    body = f"{dfe_number:07d}{year % 100:02d}{digits:02d}{ALPHABET[letter]}"
    return check_letter(body) + body


def is_valid_upn(text: str) -> bool:
    """Say whether ``text`` has the form of a UPN and the right check letter."""
    return _UPN.fullmatch(text) is not None and text[0] == check_letter(text[1:])


def uln(nine_digits: int) -> str | None:
    """Return the ULN that begins with these digits, or ``None`` where the rule allows none."""
    body = f"{nine_digits:09d}"
    remainder = sum(int(digit) * (10 - place) for place, digit in enumerate(body)) % 11
    return None if remainder == 0 else f"{body}{10 - remainder}"


def is_valid_uln(text: str) -> bool:
    """Say whether ``text`` has the form of a ULN and the right check digit."""
    return _ULN.fullmatch(text) is not None and uln(int(text[:9])) == text
