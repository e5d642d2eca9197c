"""The peer, in a process of its own: dlt's ``merge`` with strategy ``scd2`` into DuckDB, from the same MIS.

Set up as dlt's documentation advises for speed: whole pages instead of rows, its own HTTP client, which tries
again, and JSON parser (orjson). Of the ways that it names, :data:`WAYS` has those that give the same result:

* ``rows``: dictionaries, which dlt normalises and hashes itself, and writes as it does unless told otherwise,
  by INSERT statements.
* ``rows as Parquet``: the same through Parquet files. A pool of processes beside it, its other advice, takes
  three times as long for 57,000 rows on two cores.
* ``Arrow tables``: they go through Parquet files to DuckDB as they are, with a row hash of
  ``add_row_hash_to_table``.

The same result is one active row for each record: the MIS pads texts and tells rows twice, so texts are
trimmed and rows told twice left out. Beyond that dlt keeps the rows as they are: it resolves no references,
knows no codes, and checks nothing, all of which schoolgate does in the time that it is compared by.

Reads one JSON object a line: ``{"folder": …, "reads": …, "way": …}``, or ``"marks": path`` instead of a way
to be told what there is now; answers each with one. ``reads`` has entity and filter of each dataset by its
name. What else it needs of the MIS comes first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias, TypedDict

_MARKS: Final = "attendance_marks"
_SCD2: Final = {"disposition": "merge", "strategy": "scd2"}


Reads: TypeAlias = dict[str, tuple[str, str]]
_Resource: TypeAlias = Any


class Mis(TypedDict):
    """The MIS, the number of the school there, and the headers with which it answers."""

    base_url: str
    school: str
    headers: dict[str, str]


def _module(name: str) -> ModuleType:
    """Import by name, untyped: dlt is not installed where linters and type checkers run."""
    return importlib.import_module(name)


def _pages(mis: Mis, entity: str, predicate: str) -> Iterator[list[dict[str, Any]]]:
    requests, parser = _module("dlt.sources.helpers.requests"), _module("dlt.common.json").json
    page = 0
    while True:
        query = {"schoolId": mis["school"], "entityFilter": f"{predicate}{{page:{page}}}"}
        answer = requests.get(f"{mis['base_url']}/{entity}", params=query, headers=mis["headers"])
        rows = parser.loadb(answer.content)["data"]
        if not rows:
            return
        yield rows
        page += 1


def _rows(mis: Mis, name: str, entity: str, predicate: str) -> _Resource:
    def pages() -> Iterator[list[dict[str, Any]]]:
        seen: set[tuple[object, ...]] = set()
        for page in _pages(mis, entity, predicate):
            new: list[dict[str, Any]] = []
            for row in page:
                trimmed = {
                    column: value.rstrip() if isinstance(value, str) else value
                    for column, value in row.items()
                }
                content = tuple(trimmed.values())
                if content not in seen:
                    seen.add(content)
                    new.append(trimmed)
            yield new

    return _module("dlt").resource(pages, name=name, write_disposition=_SCD2)


def _arrow(mis: Mis, name: str, entity: str, predicate: str) -> _Resource:
    pa, compute = _module("pyarrow"), _module("pyarrow.compute")

    def tables() -> Iterator[Any]:
        pages = [pa.Table.from_pylist(page) for page in _pages(mis, entity, predicate)]
        table = pa.concat_tables(pages, promote_options="permissive")
        for index, field in enumerate(table.schema):
            if pa.types.is_string(field.type):
                table = table.set_column(index, field.name, compute.utf8_rtrim_whitespace(table[field.name]))
        yield table.group_by(table.column_names).aggregate([])

    resource = _module("dlt").resource(
        tables, name=name, write_disposition={**_SCD2, "row_version_column_name": "row_hash"}
    )
    return resource.add_map(_module("dlt.sources.helpers.transform").add_row_hash_to_table("row_hash"))


WAYS: Final[dict[str, tuple[Callable[[Mis, str, str, str], _Resource], str | None]]] = {
    "rows": (_rows, None),
    "rows as Parquet": (_rows, "parquet"),
    "Arrow tables": (_arrow, "parquet"),
}
"""What makes the resource of a dataset, and the files' format, ``None`` for the one that dlt chooses."""


def load(mis: Mis, reads: Reads, folder: Path, way: str) -> float:
    """Load the snapshot into the DuckDB file of ``folder`` by one run of the pipeline; return the seconds."""
    dlt = _module("dlt")
    began = time.perf_counter()
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "copy.duckdb")),
        dataset_name="mis",
    )
    resource_of, file_format = WAYS[way]
    resources = [resource_of(mis, name, *read) for name, read in reads.items()]
    pipeline.run(resources, loader_file_format=file_format).raise_on_failed_jobs()
    return time.perf_counter() - began


def tell(reads: Reads, folder: Path, marks: Path) -> dict[str, tuple[int, int, int]]:
    """Return the rows of each dataset, those of them that are active, and the instants from which rows are
    valid; write the active marks to ``marks``, a JSON line each.
    """
    connection = _module("duckdb").connect(str(folder / "copy.duckdb"), read_only=True)
    try:
        counted = {
            name: connection.execute(
                "SELECT count(*), count(*) FILTER (_dlt_valid_to IS NULL), "
                f"count(DISTINCT _dlt_valid_from) FROM mis.{name}"
            ).fetchall()[0]
            for name in reads
        }
        found = connection.execute(
            "SELECT student_id, calendar_start_date::VARCHAR, period_display_name, mark, attendance_comment "
            f"FROM mis.{_MARKS} WHERE _dlt_valid_to IS NULL"
        ).fetchall()
    finally:
        connection.close()
    with marks.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(mark) + "\n" for mark in found)
    return counted


def main() -> None:
    """Answer until the input ends."""
    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="ERROR")
    # Imported before any clock runs, as the server has been.
    for name in ("dlt", "duckdb", "pandas", "pyarrow.compute", "dlt.sources.helpers.transform"):
        _module(name)
    answers, sys.stdout = sys.stdout, sys.stderr
    mis: Mis = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"])
        folder.mkdir(exist_ok=True)
        if "way" in asked:
            answer: object = load(mis, asked["reads"], folder, asked["way"])
        else:
            answer = tell(asked["reads"], folder, Path(asked["marks"]))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
