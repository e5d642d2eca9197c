"""What a run of one layer may read, as a caller asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector
from schoolgate_server.model.errors import ServiceError, Violation, invalid_request
from schoolgate_server.sync.scope import academic_year


class Wanted(NamedTuple):
    """What a run is to read: ``datasets`` empty means all that its layer can read.

    ``date_from`` and ``date_to`` are ISO dates, half-open, and set for the window layer alone.
    """

    datasets: tuple[str, ...] = ()
    layer: pb.SyncLayer.ValueType = pb.SYNC_LAYER_FULL
    date_from: str = ""
    date_to: str = ""


def datasets_to_read(connector: Connector, wanted: Wanted) -> list[str]:
    """Return the datasets to read, in the connector's order.

    Raises:
        ServiceError: ``DATASET_UNKNOWN``; ``REQUEST_INVALID`` where one of them has no window to read.
    """
    offered = [dataset.name for dataset in connector.datasets]
    for name in wanted.datasets:
        if name not in offered:
            raise ServiceError(
                reasons.ERROR_REASON_DATASET_UNKNOWN,
                f"connector {connector.name!r} has no dataset {name!r}; there are {', '.join(offered)}",
                metadata={"dataset": name, "connector": connector.name},
            )
    if wanted.layer == pb.SYNC_LAYER_WINDOW:
        offered = [dataset.name for dataset in connector.datasets if dataset.windowed]
        _refuse_unwindowed(connector, wanted.datasets, offered)
    return [name for name in offered if not wanted.datasets or name in wanted.datasets]


def _refuse_unwindowed(connector: Connector, wanted: Sequence[str], windowed: Sequence[str]) -> None:
    there_are = ", ".join(windowed) or "none"
    if not windowed:
        what = f"connector {connector.name!r} has no dataset that can be read by a window of days"
        raise invalid_request(Violation("layer", what))
    wrong = [
        Violation(f"datasets[{index}]", f"cannot be read by a window of days; these can: {there_are}")
        for index, name in enumerate(wanted)
        if name not in windowed
    ]
    if wrong:
        raise invalid_request(*wrong)


def check_window(school: School, wanted: Wanted, today: date) -> None:
    """Return if the window has days of the academic year, which alone are read.

    Raises:
        ServiceError: ``REQUEST_INVALID``, where it has none.
    """
    year = academic_year(school, today)
    if wanted.layer == pb.SYNC_LAYER_WINDOW and not (
        wanted.date_from < year.valid_to and year.valid_from < wanted.date_to
    ):
        what = f"has no day of the academic year {year.name}, {year.valid_from} to {year.valid_to}"
        raise invalid_request(Violation("date_from", what))
