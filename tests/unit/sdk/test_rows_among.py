"""Items of a decoded list: which are rows, and when there are none at all."""

from __future__ import annotations

import pytest

from schoolgate_sdk import Row, rows_among

CASES: list[tuple[list[object], list[Row] | None]] = [
    ([], []),
    ([{}], [{}]),
    ([{"id": 1}, {"id": 2}], [{"id": 1}, {"id": 2}]),
    ([None, {"id": 1}, [{"id": 2}]], [{}, {"id": 1}, {}]),
    ([None], None),
    ([3, "Reid", []], None),
]


@pytest.mark.parametrize(("items", "rows"), CASES)
def test_g09_an_item_that_is_no_object_is_a_row_without_columns_among_others(
    items: list[object], rows: list[Row] | None
) -> None:
    """``[{}]`` was seen to fail where an empty object counted as none, and cost its dataset."""
    assert rows_among(items) == rows
