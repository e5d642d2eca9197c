"""A connector's description is checked when it is made, and gives no secret away."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from schoolgate.v1 import kind_pb2
from schoolgate_sdk import ReadRows, SchoolConnection
from tests.unit.sdk.descriptions import connector, dataset, open_nothing


def test_a_dataset_is_found_by_its_name() -> None:
    described = connector()
    assert described.dataset("staff") is described.datasets[1]
    with pytest.raises(KeyError):
        described.dataset("pupils")


@pytest.mark.parametrize("name", ["", "Fake", "1st", "a-b", "a" * 41, "naïve", "a\n"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="connector name"):
        connector(name=name)
    with pytest.raises(ValueError, match="dataset name"):
        connector(datasets=(dataset(name, kind_pb2.KIND_STUDENT),))


def test_a_repeated_dataset_is_refused_by_name() -> None:
    twice = (dataset("students", kind_pb2.KIND_STUDENT), dataset("students", kind_pb2.KIND_STAFF))
    with pytest.raises(ValueError, match="dataset given more than once: students"):
        connector(datasets=twice)


def test_a_kind_that_two_datasets_yield_is_refused_by_name() -> None:
    twice = (
        dataset("students", kind_pb2.KIND_STUDENT, kind_pb2.KIND_ENROLMENT),
        dataset("more", kind_pb2.KIND_STUDENT),
    )
    with pytest.raises(ValueError, match=r"kind given more than once: KIND_STUDENT$"):
        connector(datasets=twice)


def test_a_description_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        connector().name = "other"  # type: ignore[misc]  # that is what is tested


def test_g16_credentials_stay_out_of_the_text_of_a_connection() -> None:
    connection = SchoolConnection(
        "sch_1", {"base_url": "https://mis"}, lambda: datetime(2026, 9, 1, tzinfo=UTC), {"secret": "s3cr3t"}
    )
    assert "s3cr3t" not in repr(connection)
    assert "s3cr3t" not in str(connection)


async def test_a_session_is_what_reads_rows() -> None:
    connection = SchoolConnection("sch_1", {}, lambda: datetime(2026, 9, 1, tzinfo=UTC))
    async with open_nothing(connection) as session:
        assert isinstance(session, ReadRows)
