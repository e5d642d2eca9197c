"""Half a character costs nothing else, and what takes more memory than a page can is refused first (G18)."""

from __future__ import annotations

import orjson
import pytest

from schoolgate_sdk import SchemaChanged
from schoolgate_sdk.json_bounds import JsonBounds, decode_json

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


@pytest.mark.parametrize(
    ("spelt", "read"),
    [
        (r"late \ud83d", "late \ufffd"),
        (r"\uDE00 late", "\ufffd late"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\\ud83d \ude00", "\\ud83d \ufffd"),
    ],
)
def test_g09_half_a_surrogate_pair_costs_nothing_else(spelt: str, read: str) -> None:
    """Seen to fail where it was no JSON: a comment that ended in the midst of an emoji cost its dataset."""
    assert decode_json(f'[{{"a":"{spelt}"}},{{"a":"\\ud83d\\ude00"}}]'.encode()) == [
        {"a": read},
        {"a": "\U0001f600"},
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b'"\\ud83d', b'{"a":"\\ud8"}', b'"\\ud8"]"', b'"\\u"'])
def test_g18_what_is_no_json_stays_none(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decode_json(bytearray(body))
