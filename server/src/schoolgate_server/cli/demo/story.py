"""What happens in the demo, in order. Everything about a school comes and goes through gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.diagnostics_service_pb2 import ListConnectorsRequest
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_LEFT,
    TOMBSTONE_REASON_UNKNOWN_ABSENCE,
    Record,
)
from schoolgate.v1.school_service_pb2 import AcademicYearSpan, CreateSchoolRequest, School
from schoolgate.v1.sync_service_pb2 import Run, RunState
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.cli import console, progress, records, runs, versions
from schoolgate_server.cli.client import Client
from schoolgate_server.cli.demo.mis import SimulatedSchool, Simulator
from schoolgate_server.cli.demo.narrator import INDENT, Narrator
from schoolgate_server.cli.demo.stage import CONNECTOR, Stage
from schoolgate_server.cli.failures import CommandFailed

SHOWN_KINDS = (
    kinds.KIND_STUDENT,
    kinds.KIND_ENROLMENT,
    kinds.KIND_STAFF,
    kinds.KIND_GROUP,
    kinds.KIND_GROUP_MEMBERSHIP,
    kinds.KIND_STAFF_ASSIGNMENT,
    kinds.KIND_ATTENDANCE_MARK,
)
"""The kinds whose records are counted before and after."""


_REASONS = {
    TOMBSTONE_REASON_LEFT: "the MIS had said that the pupil would leave",
    TOMBSTONE_REASON_UNKNOWN_ABSENCE: "proven absent, asked for by key too; this MIS does not say why",
}


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays in the edits: three pupils, and the mark to be corrected where the school has marks."""

    renamed: Record
    leaver: Record
    mark: Record | None


def tell(narrator: Narrator, stage: Stage, year: AcademicYearSpan | None) -> tuple[str, str]:
    """Play the whole demo; returns the id of the school it was about, and of a record with a history.

    ``year`` is the academic year of schools with marks; without one, marks are not read.

    Raises:
        CommandFailed: something did not turn out as it must; the message says what.
    """
    client = stage.client
    narrator.line(f"server at {client.server}, MIS at {stage.simulator.url}")
    ids = _register(narrator, stage, year)
    datasets = _datasets(client, marks=year is not None)
    number, school = next(iter(ids.items()))
    narrator.step("The first sync reads everything, proves that it was everything, and publishes it.")
    loaded = {each: sync(narrator, client, each, datasets) for each in ids.values()}
    narrator.printer.print()
    _counts(narrator, client, list(ids.values()))

    chosen, before = _choose(client, school), loaded[school].seq_after
    _edit(narrator, stage.simulator, number, chosen)
    narrator.step("The second sync reads everything again and writes only what changed.")
    sync(narrator, client, school, datasets)
    narrator.step("What changed, asked through gRPC.")
    show_changes(narrator, client, school, before, chosen)

    narrator.step("A third sync of the unchanged school writes nothing but the record of its run.")
    third = sync(narrator, client, school, datasets)
    if third.seq_before != third.seq_after:
        raise CommandFailed("the third sync found changes, although nobody made any")
    return school, chosen.renamed.id


def _school_id(school: SimulatedSchool) -> str:
    words = "".join(c if c.isalnum() else " " for c in school.name.lower()).split()
    return "-".join(word for word in words if word.isascii())[:63] or f"school-{school.number}"


def _register(narrator: Narrator, stage: Stage, year: AcademicYearSpan | None) -> dict[int, str]:
    """Register the simulator's schools, and return their ids by their numbers at the MIS."""
    simulated = stage.simulator.schools()
    who = "The schools are" if len(simulated) > 1 else "The school is"
    narrator.step(f"{who} registered through gRPC. Credentials are stored encrypted and never come out.")
    ids: dict[int, str] = {}
    for entry in simulated:
        request = CreateSchoolRequest(
            school=School(
                school_id=_school_id(entry),
                display_name=entry.name,
                connector=CONNECTOR,
                settings={
                    **stage.simulator.settings,
                    "base_url": stage.simulator.base_url,
                    "school_number": str(entry.number),
                },
                academic_year=year,
            ),
            credentials=stage.simulator.credentials,
            request_id=str(uuid.uuid4()),
        )
        made = stage.client.call(stage.client.schools.CreateSchool, request).school
        narrator.line(f"{made.school_id}: {made.display_name}, number {entry.number} at its MIS")
        ids[entry.number] = made.school_id
    return ids


_IN_FILES = frozenset(
    {
        kinds.KIND_STUDENT,
        kinds.KIND_STAFF,
        kinds.KIND_GROUP,
        kinds.KIND_GROUP_MEMBERSHIP,
        kinds.KIND_STAFF_ASSIGNMENT,
    }
)


def _datasets(client: Client, *, marks: bool) -> list[str]:
    """Return the datasets to read: all, or those that School Data Sync files have rows of where the school
    has no ``marks``, for zero rows prove nothing.
    """
    listed = client.call(client.diagnostics.ListConnectors, ListConnectorsRequest()).connectors
    info = next(connector for connector in listed if connector.name == CONNECTOR)
    return [d.name for d in info.datasets if marks or not _IN_FILES.isdisjoint(d.kinds)]


def sync(narrator: Narrator, client: Client, school: str, datasets: list[str]) -> Run:
    """Run one sync to its end with progress bars, and return it; raises CommandFailed unless it succeeded."""
    run = runs.start(client, school, datasets)
    last = progress.follow(narrator.printer, runs.states(client, school, run.run_id), indent=INDENT)
    narrator.line(f"{school}: {progress.summary(last)}", style="dim")
    if last.state != RunState.RUN_STATE_SUCCEEDED:
        told = "\n".join(f"  {line}" for line in progress.complaints(last))
        raise CommandFailed(f"the sync of {school} did not succeed:\n{told}")
    return last


LONG_AGO = "2000-01-01"
"""Before any mark that a demonstration reads."""


def _stream(client: Client, request: q.QueryRecordsRequest) -> Iterator[Record]:
    for page in client.stream(client.query.QueryRecords, request):
        yield from page.records


def _choose(client: Client, school: str) -> Cast:
    pupils = q.QueryRecordsRequest(school_id=school, kind=kinds.KIND_STUDENT, max_records=2)
    renamed, leaver = _stream(client, pupils)
    # N: no reason yet. Schools correct these within days, which is why copies of marks go stale.
    unexplained = q.Filter(field="code", operator=q.FILTER_OPERATOR_EQUAL, values=["N"])
    # Marks are ever more, so the question names days, pupils or groups.
    lately = q.Filter(field="date", operator=q.FILTER_OPERATOR_GREATER_OR_EQUAL, values=[LONG_AGO])
    marks = q.QueryRecordsRequest(
        school_id=school, kind=kinds.KIND_ATTENDANCE_MARK, filters=[lately, unexplained], max_records=5
    )
    absent = {renamed.id, leaver.id}
    found = (mark for mark in _stream(client, marks) if mark.attendance_mark.student_id not in absent)
    return Cast(renamed, leaver, next(found, None))


def _number(record: Record) -> int:
    return record.source_keys[0].parts[0].integer


def _name(record: Record) -> str:
    return f"{record.student.forename} {record.student.surname}"


def _edit(narrator: Narrator, simulator: Simulator, school: int, chosen: Cast) -> None:
    narrator.step("Meanwhile at the school, people work in their MIS.")
    simulator.edit(school, "join", forename="Zoë", surname="Ashworth")
    narrator.line("a pupil joins: Zoë Ashworth")
    simulator.edit(school, "leave", pupil=_number(chosen.leaver))
    narrator.line(f"a pupil leaves: {_name(chosen.leaver)}")
    simulator.edit(school, "rename", pupil=_number(chosen.renamed), surname="Okafor-Reid")
    narrator.line(f"a pupil is renamed: {_name(chosen.renamed)}, from now on Okafor-Reid")
    if chosen.mark is not None:
        mark = chosen.mark.attendance_mark
        pupil, day, session = (part.integer or part.text for part in chosen.mark.source_keys[0].parts)
        simulator.edit(school, "correct_mark", pupil=pupil, date=day, session=session, code="I")
        narrator.line(
            f"a mark is corrected: {mark.date} {mark.period_name}, N (no reason yet) is now I (illness)"
        )


def show_changes(narrator: Narrator, client: Client, school: str, before: int, chosen: Cast) -> None:
    """Show what came after the seq ``before``, and check that it is what happened at the school."""
    everybody = q.QueryRecordsRequest(
        school_id=school, kind=kinds.KIND_STUDENT, include_tombstones=True, page_size=5000
    )
    moved = [record for record in _stream(client, everybody) if record.seq > before]
    joined = [record for record in moved if record.version == 1]
    left = [record for record in moved if record.HasField("tombstone")]
    for record in joined:
        narrator.line(f"joined   {_name(record)}, {record.id}, version 1")
    for record in left:
        when = console.moment(record.tombstone.at)
        narrator.line(f"left     {_name(record)}, tombstone {records.gone(record)} at {when}")
        narrator.line(f"         {_REASONS.get(record.tombstone.reason, '')}", style="dim")
    if [r.id for r in left] != [chosen.leaver.id] or len(joined) != 1:
        raise CommandFailed("one joiner and one leaver were expected")
    _history(narrator, client, school, "renamed", chosen.renamed)
    if chosen.mark is not None:
        _history(narrator, client, school, "mark corrected", chosen.mark)
    narrator.printer.print()
    _before_and_after(narrator, client, school, before)


def _history(narrator: Narrator, client: Client, school: str, what: str, record: Record) -> None:
    listed = list(versions.all_versions(client, school, record.id))
    if len(listed) < 2:
        raise CommandFailed(f"{record.id} was to have a second version ({what})")
    narrator.printer.print()
    narrator.line(f"{what}: versions of {record.id}")
    narrator.show(versions.history(listed, len(listed)))


def _count(
    client: Client, school: str, kind: kinds.Kind.ValueType, known_at: int = 0, *, all_: bool = False
) -> int:
    request = q.CountRecordsRequest(
        school_id=school, kind=kind, known_at_seq=known_at, include_tombstones=all_
    )
    return client.call(client.query.CountRecords, request).count


def _counts(narrator: Narrator, client: Client, schools: Sequence[str]) -> None:
    made = console.table("records", *schools, right=schools)
    for kind in SHOWN_KINDS:
        numbers = [_count(client, school, kind) for school in schools]
        if any(numbers):
            console.add_row(made, (KINDS[kind].name, *numbers))
    narrator.show(made)


def _before_and_after(narrator: Narrator, client: Client, school: str, before: int) -> None:
    heads = (f"at seq {console.number(before)}", "now", "left")
    made = console.table("records", *heads, right=heads)
    for kind in SHOWN_KINDS:
        old, new = _count(client, school, kind, before), _count(client, school, kind)
        if old or new:
            console.add_row(made, (KINDS[kind].name, old, new, _count(client, school, kind, all_=True) - new))
    narrator.show(made)
