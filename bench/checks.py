"""What every copy has to hold, whoever made it and however fast."""

from __future__ import annotations

from bench.stage import Stage
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate.v1.query_service_pb2 import QueryRecordsRequest
from schoolgate.v1.sync_service_pb2 import Run


def rows_read(run: Run) -> int:
    """Return the source rows that the run read."""
    return sum(dataset.rows_read for dataset in run.datasets)


def check_counts(run: Run, *, created: int = 0, updated: int = 0, unchanged: int = 0) -> None:
    """Compare what the run says that it did with what there was to do; it must have done nothing else."""
    found = {
        name: sum(getattr(dataset, name) for dataset in run.datasets)
        for name in ("created", "updated", "unchanged", "tombstoned", "revived", "held", "reprojected")
    }
    expected = dict.fromkeys(found, 0) | {"created": created, "updated": updated, "unchanged": unchanged}
    assert found == expected, f"{found} instead of {expected}"
    if not created and not updated:
        assert run.seq_before == run.seq_after, "an unchanged sync wrote something"


def check_marks(stage: Stage, school: str, code: str | None = None) -> None:
    """Compare every mark of ``school``, as it is read through the API, with the world that the MIS serves, or
    with ``code`` where that is given.

    Comments are left out: the data profile that a school has unless it names one keeps none.
    """
    expected = {(m.pupil, m.date.isoformat(), m.session): code or m.code for m in stage.world.marks()}
    request = QueryRecordsRequest(school_id=school, kind=KIND_ATTENDANCE_MARK, page_size=5000)
    found = {
        (
            record.source_keys[0].parts[0].integer,
            record.attendance_mark.date,
            record.attendance_mark.period_name,
        ): record.attendance_mark.code
        for page in stage.client.stream(stage.client.query.QueryRecords, request)
        for record in page.records
    }
    assert found == expected, "the copy differs from the MIS"
