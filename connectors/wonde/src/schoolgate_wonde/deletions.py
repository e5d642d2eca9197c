"""What a row of ``deletions`` says: which entity of which resource is gone.

Of such a row nothing is public but that it is there. So what cannot be read of it is no reason to fail, and
none to pass it over either: it goes to the parsers as a row, and they refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schoolgate_sdk import Row, RowRejected, SourceKey
from schoolgate_wonde import values
from schoolgate_wonde.datasets import WondeDataset
from schoolgate_wonde.rows import DELETIONS, RESOURCE, RowReader

_RESOURCES: Final = (
    *("schools", "students", "students-pre-admission", "students-leaver", "contacts", "employees"),
    *("employee-absences", "classes", "groups", "subjects", "rooms", "periods", "lessons"),
    *("attendance/session", "attendance/lesson", "attendance-codes", "behaviours", "achievements"),
    *("assessment/aspects", "assessment/templates", "assessment/result-sets", "assessment/results", "events"),
)
"""Every public resource whose entities may be deleted, read or not."""


def of_dataset(dataset: WondeDataset, row: Row, settings: Mapping[str, str]) -> SourceKey | Row | None:
    """Return the key of what is gone of ``dataset``; ``None`` where it is of something else.

    A row that may be of the dataset and cannot be read is returned as one that every parser refuses.
    """
    refused = {**row, RESOURCE: DELETIONS}
    try:
        reader = RowReader(refused, settings, DELETIONS)
        resource = _BY_TYPE.get(_singular(reader.text("type") or ""))
        if resource is None:
            return refused
        if resource not in dataset.resources:
            return None
        identifier = reader.field("id", values.identifier)
    except RowRejected:
        return refused
    if identifier is None:
        return refused
    return SourceKey(dataset.namespace, dataset.key(resource, identifier))


def _singular(name: str) -> str:
    """Return the name of a resource or type so that "students" and "Student" are one."""
    plain = name.lower().replace("-", "_").replace("/", "_").replace(" ", "_")
    for ending, single in (("classes", "class"), ("s", "")):
        if plain.endswith(ending) and plain != "class":
            return plain.removesuffix(ending) + single
    return plain


_BY_TYPE: Final = {_singular(resource): resource for resource in _RESOURCES}
