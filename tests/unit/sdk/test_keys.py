"""Source keys are compared part by part, with their types, and survive being written as text (G05)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schoolgate_sdk import KeyPart, SourceKey, decode_key, encode_key, source_key
from schoolgate_sdk.keys import LONGEST_KEY, MOST_PARTS

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PARTS = st.one_of(st.integers(-(2**63), 2**63 - 1), TEXTS)


def _key(namespace: str, parts: list[KeyPart]) -> SourceKey:
    return source_key(namespace, *parts)


KEYS = st.builds(_key, TEXTS, st.lists(PARTS, min_size=1, max_size=MOST_PARTS))


@given(KEYS)
def test_a_key_survives_its_text(key: SourceKey) -> None:
    assert decode_key(encode_key(key)) == key


@given(KEYS, KEYS)
def test_g05_different_keys_have_different_texts(one: SourceKey, other: SourceKey) -> None:
    assume(one != other)
    assert encode_key(one) != encode_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (source_key("a", "a", "bc"), source_key("a", "ab", "c")),
        (source_key("a", 1), source_key("a", "1")),
        (source_key("a", "b"), source_key("b", "b")),
        (source_key("a", 1, 2), source_key("a", 12)),
        (source_key("a", '","'), source_key("a", ",", ",")),
    ],
)
def test_g05_keys_compare_structurally(one: SourceKey, other: SourceKey) -> None:
    assert one != other
    assert encode_key(one) != encode_key(other)


@pytest.mark.parametrize(
    ("namespace", "parts", "error"),
    [
        ("", (1,), ValueError),
        ("a", (), ValueError),
        ("a", ("",), ValueError),
        ("a", ("x" * LONGEST_KEY,), ValueError),
        ("a" * (LONGEST_KEY + 1), (1,), ValueError),
        ("a", (1,) * (MOST_PARTS + 1), ValueError),
        ("a", (2**63,), ValueError),
        ("a", (-(2**63) - 1,), ValueError),
        ("a", (True,), TypeError),
        ("a", (1.0,), TypeError),
        ("a", (None,), TypeError),
    ],
)
def test_what_is_no_key_is_refused(namespace: str, parts: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        source_key(namespace, *parts)


@pytest.mark.parametrize("text", ["", "x", "{}", "[]", '["a"]', '[1, "a"]', '["a", ""]', "null"])
def test_what_is_no_text_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError, the JSON decoder's too
        decode_key(text)


def test_g18_the_longest_key_that_is_taken() -> None:
    """Seen to fail without the bounds, with the malformed keys above: megabytes reached every index."""
    key = source_key("a", "x" * (LONGEST_KEY - 1), *[1] * (MOST_PARTS - 1))
    assert decode_key(encode_key(key)) == key
