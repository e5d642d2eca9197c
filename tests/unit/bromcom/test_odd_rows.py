"""Rows with columns that no row has: refused as a whole, by their key where they still tell it."""

from __future__ import annotations

from datetime import date

import orjson
import pytest

from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.datasets import DATASETS, BromcomDataset
from schoolgate_bromcom.plugin import schoolgate_connector
from schoolgate_bromcom.simulator.entities import ENTITIES
from schoolgate_bromcom.simulator.record_rows import SETTINGS
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_sdk import Row, RowRejected
from schoolgate_sdk.testing.world import World

GIVEN = {spec.name: spec.default for spec in schoolgate_connector().settings} | SETTINGS
VIEW = SimulatedSchool(1, World.build(3, 30, marks_until=date(2026, 9, 12))).view()

ODD: dict[str, Row] = {
    "too many columns": {f"c{number}": "x" for number in range(513)},
    "text": {"#text": []},
    "a long name": {"n" * 256: "x"},
    "twice": {"elsewhere": "x", "Elsewhere": "y"},
}


def honest(dataset: BromcomDataset) -> Row:
    """Return a row as it comes from the simulator."""
    rows = (orjson.loads(orjson.dumps(row)) for row in ENTITIES[dataset.entity].rows(VIEW))
    return next(row for row in rows if list(dataset.parser(row, GIVEN)))


def refusal(dataset: BromcomDataset, row: Row) -> RowRejected:
    with pytest.raises(RowRejected) as caught:
        list(dataset.parser(row, GIVEN))
    return caught.value


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_g09_a_row_of_odd_columns_is_refused_by_its_key(dataset: BromcomDataset, what: str) -> None:
    """Seen to fail where such a row was refused before its key was read."""
    row = honest(dataset)
    found = refusal(dataset, {**row, **ODD[what]})
    # A row of contacts is several at once, and never refused by one key.
    keys = {None} if dataset.name == "contacts" else {next(iter(dataset.parser(row, GIVEN))).key}
    assert ({found.key}, found.field) == (keys, "")


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_g01_a_key_of_which_a_part_may_be_left_out_is_not_told(dataset: BromcomDataset) -> None:
    """Seen to fail where a column that is not there is an empty part of the key: it was another row's, and
    nothing spoke for the one that was refused.
    """
    row = honest(dataset)
    [whole] = {refusal(dataset, {**row, **ODD["too many columns"]}).key}
    for column in row:
        less = {name: value for name, value in row.items() if name != column}
        assert refusal(dataset, {**less, **ODD["too many columns"]}).key in {whole, None}


def test_g01_a_column_that_comes_twice_is_no_part_of_a_key() -> None:
    """Seen to fail where the first of the two counts."""
    with pytest.raises(RowRejected) as caught:
        RowReader({"staffId": 1, "StaffID": 2}).key_number("staffId")
    assert caught.value.key is None
