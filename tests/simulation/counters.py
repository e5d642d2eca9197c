"""Whether the numbers that a run tells are those of what it did."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tests.simulation.base import DatasetFacts, Version, require
from tests.simulation.meaning import Key


def verify_rows(part: DatasetFacts, seen: Collection[Key]) -> None:
    """G09: check that every row is counted, and every one that was not taken over.

    ``seen`` are the records that the rows brought.
    """
    dataset, counters = part.dataset, part.counters
    rejected = len(part.rows) - len(seen)
    text = f"{dataset}: {rejected} rows were not taken: {counters}"
    require(counters["rejected_rows"] == rejected, "G09", text)
    text = f"{dataset}: {len(part.rows)} rows came: {counters}"
    require(counters["rows_read"] == len(part.rows), "G09", text)


def verify_counters(
    part: DatasetFacts,
    before: Mapping[Key, Sequence[Version]],
    histories: Mapping[Key, Sequence[Version]],
    runs: Collection[str],
    *,
    merged: int,
) -> None:
    """Check the counters of what was written; ``before`` are the ``histories`` as they were before."""
    dataset, counters = part.dataset, part.counters
    lives = {key: life for key, life in histories.items() if key[0] == dataset}
    written = [
        version
        for life in lives.values()
        for version in life
        if version.run in runs and version.cause != "IDENTITY"
    ]
    names = ("created", "updated", "revived", "tombstoned", "reprojected")
    made = sum(counters[name] for name in names)
    require(made == len(written), "G03", f"{dataset}: {len(written)} versions written: {counters}")
    reprojected = sum(version.cause == "REPROJECTION" for version in written)
    text = f"{dataset}: {reprojected} reprojected, counted {counters}"
    require(counters["reprojected"] == reprojected, "G08", text)
    created = sum(key not in before and life[0].cause == "SOURCE" for key, life in lives.items())
    require(counters["created"] == created, "G10", f"{dataset}: {created} created, counted {counters}")
    merged = merged if dataset == "students" else 0
    require(counters["merged"] == merged, "G10", f"{dataset}: {merged} merged, counted {counters}")
