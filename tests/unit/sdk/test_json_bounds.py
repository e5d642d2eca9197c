"""What no row can hold costs nothing else, and what takes more memory than a page can is refused (G18)."""

from __future__ import annotations

from typing import cast

import orjson
import pytest

from schoolgate_sdk import SchemaChanged, json_bounds
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


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(
    "number",
    ["1e400", "1E+309", "9" * 400, "9" * 5_000, "9" * 309 + ".5", "17976931348623159e292"],
    ids=lambda number: f"{number[:4]} of {len(number)}",
)
def test_g09_a_number_that_is_too_large_costs_its_place_alone(number: str, sign: str) -> None:
    """Seen to fail where it was no JSON: one such number cost its dataset, and was taken for a bad hour."""
    odd = sign + number
    inner = f'"a\\"{odd},\\\\",{odd},1e300,-12,0.5,[{odd}],"\\ud83d"'
    assert decode_json(f'[{{"a":{odd} ,"b":7}},{{"{odd}":1}},{inner}]'.encode()) == [
        {"a": [odd], "b": 7},
        {odd: 1},
        *(f'a"{odd},\\', [odd], 1e300, -12, 0.5, [[odd]], "\ufffd"),
    ]


@pytest.mark.parametrize("integer", [1 << 64, -(1 << 63) - 1, 10**308])
def test_an_integer_beyond_64_bits_is_no_integer(integer: int) -> None:
    [found] = cast("list[object]", decode_json(b"[%d]" % integer))
    assert (found, type(found)) == (float(integer), float)


def test_g18_no_more_numbers_than_a_page_has_become_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without the bound: each of them takes five times as much as a number."""
    monkeypatch.setattr(json_bounds, "_MOST_UNSAYABLE", 3)
    assert decode_json(b"[1e400,1e400,1e400]") == [["1e400"]] * 3
    with pytest.raises(orjson.JSONDecodeError):
        decode_json(b"[1e400,1e400,1e400,1e400]")


_LENGTH = 200_000


@pytest.mark.parametrize(
    "body",
    [
        *(b'"' + b'\\"' * _LENGTH, b'"' * (_LENGTH + 1), b"-" * _LENGTH, b"9" * _LENGTH, b"1." * _LENGTH),
        *(b"1e" * _LENGTH, b"1e+" * _LENGTH, b"[" * _LENGTH, b"[1e400," * _LENGTH, b"\\" * _LENGTH),
        *(b"0." + b"9" * _LENGTH + b"e400x", b"a" * _LENGTH),
    ],
    ids=lambda body: repr(body[:8]),
)
def test_g18_what_is_no_json_is_refused_in_time(body: bytes) -> None:
    """Seen to fail, by not ending, where a text without its end is begun again at every quotation mark."""
    with pytest.raises(orjson.JSONDecodeError):
        decode_json(body + b"x")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b'"\\ud83d', b'{"a":"\\ud8"}', b'"\\ud8"]"', b'"\\u"'),
        *(b"[NaN]", b"[Infinity]", b"[-Infinity,1e400]", b"01e400", b"[1e400.5]", b"[1e400 1]", b"{1e400:1}"),
        *(b"+1e400", b"[.1e400]", b"[1.e400]", b"0" + b"9" * 400, b"--1e400", b'["1e400]', b"1e400e400"),
    ],
)
def test_g18_what_is_no_json_stays_none(body: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decode_json(bytearray(body))
