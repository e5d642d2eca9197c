"""What notifications name, and how those that wait are put together."""

from __future__ import annotations

from collections.abc import Sequence

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import Connector, Dataset, SourceKey, kind_info
from schoolgate_server.model.errors import Violation, invalid_request
from schoolgate_server.model.runs import RunEntry

MOST_KEYS = 10_000
"""Entities of one dataset that a run asks for one by one, in 50 requests; where more are named, the dataset
is read in full."""

MOST_KEY_BYTES = 512 * 1024
"""The same for the size of their keys, so that a run's document stays far below MongoDB's 16 MB."""


def dataset_of_kind(connector: Connector, kind: Kind.ValueType) -> Dataset:
    """Return the dataset that yields ``kind``.

    Raises:
        ServiceError: ``REQUEST_INVALID``, where none does.
    """
    for dataset in connector.datasets:
        if any(spec.kind == kind for spec in dataset.kinds):
            return dataset
    kinds = sorted(kind_info(spec.kind).name for dataset in connector.datasets for spec in dataset.kinds)
    what = f"connector {connector.name!r} does not read this kind; it reads {', '.join(kinds)}"
    raise invalid_request(Violation("kind", what))


def check_namespaces(dataset: Dataset, kind: Kind.ValueType, keys: Sequence[SourceKey]) -> None:
    """Return if ``keys`` are of the number space in which the connector numbers ``kind``.

    Raises:
        ServiceError: ``REQUEST_INVALID``, where one is not.
    """
    namespaces = {spec.namespace for spec in dataset.kinds if spec.kind == kind}
    wrong = [
        Violation(
            f"source_keys[{index}].namespace", f"must be {' or '.join(sorted(namespaces))} for this kind"
        )
        for index, key in enumerate(keys)
        if key.namespace not in namespaces
    ]
    if wrong:
        raise invalid_request(*wrong[:20])


def merged(entry: RunEntry, connector: Connector, dataset: Dataset, keys: Sequence[str]) -> RunEntry:
    """Return ``entry`` with one more notification in it; no (encoded) ``keys`` mean the dataset as a whole.

    The order in which notifications come makes no difference.
    """
    before = entry.targets.get(dataset.name)
    is_whole = not keys or before == []
    together = [] if is_whole else sorted({*(before or ()), *keys})
    if len(together) > MOST_KEYS or sum(map(len, together)) > MOST_KEY_BYTES:
        together = []
    targets = entry.targets | {dataset.name: together}
    order = [each.name for each in connector.datasets]
    entry.targets = dict(sorted(targets.items(), key=lambda item: order.index(item[0])))
    run = entry.run
    run.targets = sum(map(len, entry.targets.values()))
    del run.datasets[:]
    run.datasets.extend(pending(connector, entry.targets))
    return entry


def pending(connector: Connector, names: Sequence[str] | dict[str, list[str]]) -> list[pb.DatasetRun]:
    """Return the state of datasets of which none has begun."""
    return [
        pb.DatasetRun(
            dataset=name,
            kinds=[spec.kind for spec in connector.dataset(name).kinds],
            state=pb.DATASET_STATE_PENDING,
        )
        for name in names
    ]
