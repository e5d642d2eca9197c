"""The scripted MIS with several versions of its pupils' parser, and what its pupils look like."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.record_pb2 import ChangeCause, Record
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, Parsed, Row, RowRejected, source_key
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, Engine
from tests.support.scripted import STUDENTS, ScriptedMis, parse_student, scripted_connector

SHOUTED, RENUMBERED, PICKY = 2, 3, 4
"""Versions of the pupils' parser: surnames in capitals; some rows under another key; some rows rejected."""


def _shouted(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    for parsed in parse_student(row, settings):
        assert isinstance(parsed.message, Student)
        parsed.message.surname = parsed.message.surname.upper()
        yield parsed


def _renumbered(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    for parsed in parse_student(row, settings):
        yield parsed._replace(key=source_key("scripted/students", row["new"])) if "new" in row else parsed


def _picky(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    if "odd" in row:
        reason = diagnostics.DECISION_REASON_VALUE_INVALID
        raise RowRejected(reason, "odd", "is odd", source_key("scripted/students", row["id"]))
    return _shouted(row, settings)


def connector_with_versions(mis: ScriptedMis) -> Connector:
    connector = scripted_connector(mis)
    others = {SHOUTED: _shouted, RENUMBERED: _renumbered, PICKY: _picky}
    datasets = [
        replace(dataset, other_parsers=others) if dataset.name == STUDENTS else dataset
        for dataset in connector.datasets
    ]
    return replace(connector, datasets=tuple(datasets))


async def change(store: Store, **fields: object) -> None:
    """Change fields of the school's registration."""
    school = await store.schools.get(SCHOOL)
    wanted = School(school_id=SCHOOL)
    wanted.CopyFrom(school)
    for name in fields:
        wanted.ClearField(name)  # type: ignore[arg-type]
    wanted.MergeFrom(School(**fields))  # type: ignore[arg-type]
    await store.schools.update(wanted, list(fields), str(uuid.uuid4()), b"")


async def promote(store: Store, version: int) -> None:
    await change(store, parser_versions={STUDENTS: version})


async def reproject_only(engine: Engine) -> pb.Run:
    """Run the layer that reads retained rows anew and nothing else."""
    accepted = await engine.supervisor.start_sync(
        SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests", layer=pb.SYNC_LAYER_REPROJECTION
    )
    return await engine.finish(accepted.run_id)


async def versions(store: Store, record_id: str) -> list[Record]:
    """Return a record's versions, oldest first."""
    found = await store.records.versions(SCHOOL, record_id, None, 100)
    return [record for record, _ in reversed(found)]


async def causes(store: Store, record_id: str) -> list[str]:
    """Return what made each version of a record, oldest first."""
    return [
        ChangeCause.Name(record.cause).removeprefix("CHANGE_CAUSE_")
        for record in await versions(store, record_id)
    ]


async def forget_rows(store: Store) -> None:
    """Let the pupils' retained rows be gone."""
    await store.database.collection("raw_pages").delete_many({"school": SCHOOL, "dataset": STUDENTS})
