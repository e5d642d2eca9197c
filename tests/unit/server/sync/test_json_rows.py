"""Rows as JSON are one array, whose parts can be told by their digests."""

from __future__ import annotations

import orjson
import pytest

from schoolgate_sdk import Row
from schoolgate_server.model.hashing import rows_digest
from schoolgate_server.sync.json_rows import JsonRows, decode_rows, encode_row

ROWS: list[Row] = [{"id": number, "name": "é" * number} for number in range(7)]


@pytest.mark.parametrize("sizes", [(7,), (0, 7), (3, 0, 4), (1, 2, 4), (0,), ()])
def test_pages_come_to_one_array_however_they_were_cut(sizes: tuple[int, ...]) -> None:
    joined, taken = JsonRows(), 0
    for size in sizes:
        joined.absorb(JsonRows(ROWS[taken : taken + size]))
        taken += size
    rows = ROWS[:taken]
    assert decode_rows(joined.compressed()) == rows
    assert joined.digest() == rows_digest(orjson.dumps(rows))
    assert joined.size == len(orjson.dumps(rows))
    assert list(joined.row_digests(0, 100)) == [rows_digest(encode_row(row)) for row in rows]


def test_rows_in_the_middle_have_the_digests_that_they_have_alone() -> None:
    expected = [rows_digest(encode_row(row)) for row in ROWS[2:5]]
    assert list(JsonRows(ROWS).row_digests(2, 5)) == expected


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError):
        JsonRows([{"id": 1}, {"id": object()}])
