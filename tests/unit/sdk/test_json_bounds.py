"""What would take far more memory as objects than it has bytes is refused before any object is made (G18)."""

from __future__ import annotations

import pytest

from schoolgate_sdk import SchemaChanged
from schoolgate_sdk.json_bounds import JsonBounds

BOUNDS = JsonBounds(containers_per_row=4, values_per_row=60)


@pytest.mark.parametrize(
    ("element", "count", "said"),
    [("{},", 10_401, "10400 objects and lists"), ("1,", 1_006_001, "1006000 values")],
)
def test_g18_more_than_so_many_rows_hold_is_refused(element: str, count: int, said: str) -> None:
    with pytest.raises(SchemaChanged, match=f"Acme's answer holds more than {said}") as caught:
        BOUNDS.check(element.encode() * count, 100, mis="Acme", entity="pupils")
    assert caught.value.entity == "pupils"


def test_as_much_as_so_many_rows_hold_is_let_pass() -> None:
    BOUNDS.check(b"{}" * 10_400 + b"," * 1_006_000, 100, mis="Acme", entity="pupils")
