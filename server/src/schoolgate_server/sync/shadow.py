"""Shadow runs: two versions of a parser over the same retained rows, compared and not stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, Dataset, Row, Scope
from schoolgate_server.ingest.identity import identities_of
from schoolgate_server.ingest.projection import Projection, Projector
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.profile import dropped_fields
from schoolgate_server.model.runs import SealedSnapshot
from schoolgate_server.reconcile.comparison import Comparison, FieldDifferences, Reading
from schoolgate_server.store.errors import RawPageMissing
from schoolgate_server.store.store import Store
from schoolgate_server.sync.replay import retained_rows

CHUNK_ROWS = 100
"""Rows read twice between two pauses: a few milliseconds, of which others' calls wait for several."""

PAUSE = 0.001
"""Seconds that others' calls get between two chunks: long enough for several of their steps."""

ATTEMPTS = 3
"""A sync that ends meanwhile drops the rows under comparison; then the newer ones are compared."""

MOST_VALUES = 50
"""Pairs of values that an answer holds per field."""

MOST_EXAMPLES = 10_000
"""Record ids that an answer holds in all, so that it stays below what gRPC clients take."""


async def compare_parsers(
    store: Store, connectors: ConnectorHost, request: d.CompareParsersRequest
) -> d.CompareParsersResponse:
    """Answer a comparison; nothing is written, and the MIS is not asked.

    Raises:
        ServiceError: ``SCHOOL_NOT_FOUND``, ``CONNECTOR_UNKNOWN``, ``DATASET_UNKNOWN``,
            ``PARSER_VERSION_UNKNOWN``, ``ROWS_NOT_RETAINED``, or the vault cannot be opened.
    """
    school = await store.schools.get(request.school_id)
    connector = connectors.get(school.connector)
    dataset = _dataset(connector, request.dataset)
    held = school.parser_versions.get(dataset.name, dataset.parser_version)
    before = _at_version(dataset, request.from_version or held)
    after = _at_version(dataset, request.to_version)
    for _ in range(ATTEMPTS):
        sealed = await store.runs.last_sealed(request.school_id, dataset.name)
        if sealed is None:
            break
        readers = [await _projector(store, school, connector, each) for each in (before, after)]
        answer = d.CompareParsersResponse(
            from_version=before.parser_version, to_version=after.parser_version, run_id=sealed.run_id
        )
        comparison = Comparison(request.examples)
        try:
            await _run_over(store, request.school_id, dataset.name, sealed, readers, comparison, answer)
        except RawPageMissing:
            continue
        return _finished(answer, comparison)
    raise ServiceError(
        reasons.ERROR_REASON_ROWS_NOT_RETAINED,
        f"no source rows of dataset {dataset.name!r} are retained: sync the school in full first",
        metadata={"dataset": dataset.name},
    )


def _dataset(connector: Connector, name: str) -> Dataset:
    try:
        return connector.dataset(name)
    except KeyError:
        available = ", ".join(dataset.name for dataset in connector.datasets)
        raise ServiceError(
            reasons.ERROR_REASON_DATASET_UNKNOWN,
            f"connector {connector.name!r} has no dataset {name[:80]!r}; there are {available}",
            metadata={"dataset": name[:80], "available": available},
        ) from None


def _at_version(dataset: Dataset, version: int) -> Dataset:
    try:
        return dataset.at_version(version)
    except KeyError:
        available = ", ".join(map(str, dataset.parser_versions))
        raise ServiceError(
            reasons.ERROR_REASON_PARSER_VERSION_UNKNOWN,
            f"dataset {dataset.name!r} has no parser version {version}; there are {available}",
            metadata={"dataset": dataset.name, "version": str(version), "available": available},
        ) from None


async def _projector(store: Store, school: School, connector: Connector, dataset: Dataset) -> Projector:
    """Return one reading, as a run of the school would have it, of whatever days the retained rows are."""
    settings: Mapping[str, str] = {spec.name: spec.default for spec in connector.settings if spec.default}
    return Projector(
        dataset,
        Scope(dataset.name, ""),
        {**settings, **school.settings},
        Shaper(
            resolve_meanings(connector.code_meanings, school.code_mappings),
            dropped_fields(school.data_profile),
        ),
        # Its own, since what rows say of further keys is another thing for either parser.
        await identities_of(store, school.school_id, connector.datasets),
    )


async def _run_over(
    store: Store,
    school_id: str,
    dataset: str,
    sealed: SealedSnapshot,
    readers: Sequence[Projector],
    comparison: Comparison,
    answer: d.CompareParsersResponse,
) -> None:
    before, after = readers
    if not sealed.segments and sealed.state.rows_read:
        raise RawPageMissing(f"the run names no rows of {dataset} of school {school_id}")
    async with aclosing(retained_rows(store, school_id, dataset, sealed.segments)) as segments:
        async for rows in segments:
            for start in range(0, len(rows), CHUNK_ROWS):
                some = rows[start : start + CHUNK_ROWS]
                for reader in readers:
                    await reader.know(some)
                for row in some:
                    _take(row, before, after, comparison, answer)
                await asyncio.sleep(PAUSE)
            answer.rows += len(rows)


def _take(
    row: Row, before: Projector, after: Projector, comparison: Comparison, answer: d.CompareParsersResponse
) -> None:
    first, second = before.project(row), after.project(row)
    if first.rejected != second.rejected:
        answer.rejected_only_before += first.rejected
        answer.rejected_only_after += second.rejected
    comparison.take(_readings(first), _readings(second))


def _readings(projection: Projection) -> list[Reading]:
    return [
        Reading(record.record_id, record.kind, record.keys, record.message, record.digest)
        for record in projection.records
    ]


def _finished(answer: d.CompareParsersResponse, comparison: Comparison) -> d.CompareParsersResponse:
    answer.same, answer.differing = comparison.same, comparison.differing
    answer.only_before, answer.only_after = comparison.only_before, comparison.only_after
    examples_left = MOST_EXAMPLES
    for found in comparison.differences():
        examples_left -= _tell(found, answer.differences.add(), examples_left)
    return answer


def _tell(found: FieldDifferences, difference: d.FieldDifference, examples_left: int) -> int:
    """Fill in how one field differs; return how many record ids that took."""
    difference.kind, difference.field, difference.count = found.kind, found.name, found.count
    told = 0
    ranked = sorted(found.pairs.items(), key=lambda item: (-item[1], item[0]))
    for (old, new), count in ranked[:MOST_VALUES]:
        record_ids = found.examples[old, new][: max(0, examples_left - told)]
        difference.values.add(before=old, after=new, count=count, record_ids=record_ids)
        told += len(record_ids)
    return told
