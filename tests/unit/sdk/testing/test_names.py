"""Names are of many origins, and every one can be made into an address."""

from __future__ import annotations

from random import Random

import pytest

from schoolgate_sdk.testing import names


def test_names_have_diacritics_apostrophes_hyphens_and_spaces() -> None:
    random = Random(1)
    drawn = {names.surname(random) for _ in range(3_000)} | {names.forename(random, "F") for _ in range(999)}
    assert any(not name.isascii() for name in drawn)
    for mark in ("'", "-", " "):
        assert any(mark in name for name in drawn), mark
    assert all(name == name.strip() and name for name in drawn)


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("O'Brien", "obrien"),
        ("Mac Giolla Phádraig", "macgiollaphadraig"),
        ("Y\u0131lmaz", "yilmaz"),  # the dotless i of Turkish
        ("Łucja", "lucja"),
        ("Søren", "soren"),
        ("Szymański", "szymanski"),
        ("Öztürk", "ozturk"),
    ],
)
def test_addresses_are_made_of_plain_letters(name: str, letters: str) -> None:
    assert names.ascii_letters(name) == letters
