"""What a parser may do wrong ends as a finding about its row, never as an exception."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.groups_pb2 import Group
from schoolgate.v1.people_pb2 import Student
from schoolgate_sdk import (
    Dataset,
    KindSpec,
    LeftOut,
    Parsed,
    Ref,
    Row,
    RowRejected,
    Scope,
    SourceKey,
    source_key,
)
from schoolgate_server.ingest.decisions import LONGEST_DETAIL, LONGEST_FIELD, DecisionLog, Finding
from schoolgate_server.ingest.identity import Identities
from schoolgate_server.ingest.projection import Projection, Projector
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.ids import Minter
from schoolgate_server.model.profile import CORE_PROFILE, dropped_fields
from tests.support.engine import TickingClock
from tests.support.scripted import mark, parse_mark

KEY = source_key("acme/student", 1)
FRACTION = SourceKey("acme/student", (1.5,))  # type: ignore[arg-type]
PART = LeftOut(
    diagnostics.DECISION_REASON_VALUE_INVALID, "carer", "is nobody", source_key("acme/student_contact", 1)
)


def project(row: Row, parse: Callable[[Row], Iterable[Parsed]], aliases: Any = None) -> Projection:
    def parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
        return parse(row)

    dataset = Dataset("students", (KindSpec(kinds.KIND_STUDENT, "acme/student"),), ("Students",), parser, 1)
    return projector(dataset, Identities(Minter("oak"), [dataset], aliases or [])).project(row)


def projector(dataset: Dataset, identities: Identities | None = None) -> Projector:
    scope = Scope(dataset.name, "2026/27", date(2026, 9, 1), date(2027, 9, 1))
    shaper = Shaper(resolve_meanings({}), dropped_fields(CORE_PROFILE))
    return Projector(dataset, scope, {}, shaper, identities or Identities(Minter("oak"), [dataset], []))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def yields(parsed: Any) -> Callable[[Row], Iterable[Parsed]]:
    return lambda row: [parsed]


@pytest.mark.parametrize(
    "parsed",
    [
        Parsed(kinds.KIND_GROUP, KEY, Group()),
        Parsed(kinds.KIND_STUDENT, KEY, Group()),
        Parsed(kinds.KIND_STUDENT, source_key("acme/staff", 1), Student()),
        Parsed(kinds.KIND_STUDENT, SourceKey("acme/student", ()), Student()),
        Parsed(kinds.KIND_STUDENT, SourceKey("acme/student", (True,)), Student()),
        Parsed(kinds.KIND_STUDENT, FRACTION, Student()),
        Parsed(kinds.KIND_STUDENT, SourceKey("acme/student", (2**63,)), Student()),
        Parsed(kinds.KIND_STUDENT, SourceKey("acme/student", ("",)), Student()),
        Parsed(kinds.KIND_STUDENT, KEY, Student(), refs=(Ref("no_such_id", kinds.KIND_STUDENT, KEY),)),
        Parsed(kinds.KIND_STUDENT, KEY, Student(), left_out=("nonsense",)),  # type: ignore[arg-type]
        Parsed(kinds.KIND_STUDENT, KEY, Student(), left_out=(PART._replace(key=SourceKey("acme/link", ())),)),
        "nonsense",
        None,
    ],
)
def test_a_parser_that_breaks_its_contract_is_a_finding(parsed: Any) -> None:
    result = project({"id": 1}, yields(parsed))
    assert not result.records
    assert result.rejected
    assert [finding.reason for finding in result.findings] == [diagnostics.DECISION_REASON_PARSER_ERROR]


@pytest.mark.parametrize(
    "said",
    [
        (999, "born", "is no date", KEY),
        (diagnostics.DECISION_REASON_UNSPECIFIED, "born", "is no date", KEY),
        ("invalid", "born", "is no date", KEY),
        (diagnostics.DECISION_REASON_VALUE_INVALID, None, "is no date", KEY),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "\ud800", "is no date", KEY),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "born", ValueError("is no date"), KEY),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "born", "\ud800", KEY),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "born", "is no date", "acme/student"),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "born", "is no date", FRACTION),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "born", "is no date", SourceKey("\ud800", (1,))),
        (diagnostics.DECISION_REASON_VALUE_INVALID, "born", "is no date", SourceKey("acme/student", ())),
    ],
)
async def test_g09_a_parser_that_rejects_a_row_in_no_known_form_costs_that_row_alone(said: Any) -> None:
    """Seen to fail where a parser's verdict was taken as it came."""

    def parse(row: Row) -> Iterable[Parsed]:
        raise RowRejected(*said)

    def parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
        return parse(row)

    dataset = Dataset("students", (KindSpec(kinds.KIND_STUDENT, "acme/student"),), ("Students",), parser, 1)
    await projector(dataset).know([{"id": 1}])
    refused = project({"id": 1}, parse)
    left_out = project(
        {"id": 1}, yields(Parsed(kinds.KIND_STUDENT, KEY, Student(), left_out=(LeftOut(*said),)))
    )
    for result in (refused, left_out):
        assert result.rejected
        assert [finding.reason for finding in result.findings] == [diagnostics.DECISION_REASON_PARSER_ERROR]
        log = DecisionLog("oak", "students", "run_1", ())
        log.record(result.findings[0], TickingClock()())
        assert len(log.take_new()) == 1


@pytest.mark.parametrize("value", ["\ud800", 1 << 64, {(1, 2): 3}, nested(300), nested(100_000)])
def test_g09_a_row_that_json_cannot_say_has_its_decision(value: Any) -> None:
    """Seen to fail where such a row was to be told from others by its JSON."""
    result = project({"id": value}, lambda row: [])
    assert result.findings[0].row


def test_a_parser_that_yields_nothing_is_a_finding() -> None:
    assert project({"id": 1}, lambda row: ()).findings[0].reason == diagnostics.DECISION_REASON_PARSER_ERROR


def test_g09_what_a_parser_leaves_out_is_a_finding_beside_the_record() -> None:
    """Seen to fail where nobody looked at it."""
    result = project({"id": 1}, yields(Parsed(kinds.KIND_STUDENT, KEY, Student(), left_out=(PART,))))
    assert [record.key for record in result.records] == [KEY]
    assert result.findings == [Finding(PART.reason, PART.field, PART.detail, PART.key)]
    assert not result.rejected


def test_a_row_is_taken_as_a_whole_or_not_at_all() -> None:
    def parse(row: Row) -> Iterable[Parsed]:
        yield Parsed(kinds.KIND_STUDENT, KEY, Student(surname="S"))
        raise RowRejected(diagnostics.DECISION_REASON_VALUE_INVALID, "born", "no date", KEY)

    result = project({"id": 1}, parse)
    assert not result.records
    assert result.protects == (Minter("oak").mint(kinds.KIND_STUDENT, '["acme/student",1]'),)


def test_a_further_key_of_another_record_is_left_out_and_named() -> None:
    person = source_key("acme/person", 7)
    other = [Alias(kinds.KIND_STUDENT, '["acme/person",7]', "stu_other")]
    result = project(
        {}, yields(Parsed(kinds.KIND_STUDENT, KEY, Student(surname="S"), other_keys=(person,))), other
    )
    assert result.records[0].keys == ('["acme/student",1]',)
    assert [finding.field for finding in result.findings] == ["acme/person"]


def test_the_same_row_projects_to_the_same_bytes() -> None:
    parse = yields(Parsed(kinds.KIND_STUDENT, KEY, Student(surname="S", upn="H801200001001")))
    assert project({}, parse).records[0][5:7] == project({}, parse).records[0][5:7]


@pytest.mark.parametrize(
    ("day", "taken"), [("2026-08-31", 0), ("2026-09-01", 1), ("2027-08-31", 1), ("2027-09-01", 0)]
)
def test_the_window_is_half_open(day: str, taken: int) -> None:
    spec = KindSpec(kinds.KIND_ATTENDANCE_MARK, "scripted/marks", "date")
    dataset = Dataset("marks", (spec,), ("Marks",), parse_mark, 1, windowed=True)
    result = projector(dataset).project(mark(1, day))
    assert len(result.records) == taken
    outside = [f for f in result.findings if f.reason == diagnostics.DECISION_REASON_OUT_OF_SCOPE]
    assert len(outside) == 1 - taken


def test_of_what_lies_outside_the_window_no_key_is_taken_and_its_holders_lie_outside_too() -> None:
    """Of a row with an item on either side of the edge, each with a further and a former key of another."""
    kind, marks = kinds.KIND_ATTENDANCE_MARK, "scripted/marks"

    def parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
        for number, day in enumerate(("2026-08-31", "2026-09-01"), 1):
            others = (source_key("scripted/slots", number), source_key("scripted/tags", number))
            former = (source_key(marks, 10 + number),)
            message = AttendanceMark(date=day, code="/", period_name="AM")
            yield Parsed(kind, source_key(marks, number), message, other_keys=others, former_keys=former)

    dataset = Dataset("marks", (KindSpec(kind, marks, "date"),), ("Marks",), parser, 1, windowed=True)
    slots = [Alias(kind, f'["scripted/slots",{number}]', f"mrk_slot_{number}") for number in (1, 2)]
    identities = Identities(Minter("oak"), [dataset], slots)
    own, former = (
        [identities.minter.mint(kind, f'["{marks}",{number}]') for number in numbers]
        for numbers in ((1, 2), (11, 12))
    )
    result = projector(dataset, identities).project({"id": 1})
    assert [projected.record_id for projected in result.records] == [own[1]]
    assert [claim.holder for claim in result.claims] == ["mrk_slot_2", former[1]]
    assert {*result.outside} >= {own[0], "mrk_slot_1", former[0]}
    assert not {*result.outside} & {own[1], "mrk_slot_2", former[1]}
    assert [alias.key for alias in identities.take_new()] == ['["scripted/tags",2]']


def test_decisions_have_the_same_id_in_every_run_and_are_new_once() -> None:
    finding = Finding(diagnostics.DECISION_REASON_DUPLICATE_ROW, "", "the row came more than once", KEY)
    first = DecisionLog("oak", "students", "run_1", ())
    first.record(finding, TickingClock()())
    first.record(finding, TickingClock()())
    [decision] = first.take_new()
    assert decision.source_key.parts[0].integer == 1
    later = DecisionLog("oak", "students", "run_2", {decision.decision_id})
    later.record(finding, TickingClock()())
    assert later.take_new() == []


def test_g16_a_decision_keeps_the_beginning_of_what_a_parser_says() -> None:
    """A parser that quotes whole rows must not fill the decisions with them."""
    log = DecisionLog("oak", "students", "run_1", ())
    detail, field = "is no year group: " + "x" * 500 + "Adeyemi", "yearGroup" + "y" * 500
    finding = Finding(diagnostics.DECISION_REASON_VALUE_INVALID, field, detail, KEY)
    log.record(finding, TickingClock()())
    log.record(finding._replace(detail="said otherwise"), TickingClock()())
    [decision] = log.take_new()
    assert (decision.field, decision.detail) == (field[:LONGEST_FIELD], detail[:LONGEST_DETAIL])
    assert (LONGEST_FIELD, LONGEST_DETAIL) == (80, 200)
