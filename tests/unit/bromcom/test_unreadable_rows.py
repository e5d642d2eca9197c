"""A row without any column, which is also what an item becomes that is no object."""

from __future__ import annotations

import pytest

from schoolgate_bromcom.plugin import schoolgate_connector
from schoolgate_sdk import Dataset, RowRejected

_CONNECTOR = schoolgate_connector()
_DEFAULTS = {spec.name: spec.default for spec in _CONNECTOR.settings}


@pytest.mark.parametrize("dataset", _CONNECTOR.datasets, ids=lambda dataset: dataset.name)
def test_g09_a_row_of_nothing_is_refused(dataset: Dataset) -> None:
    with pytest.raises(RowRejected):
        list(dataset.parser({}, _DEFAULTS))
