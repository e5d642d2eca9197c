"""The reference case of another reading: Bromcom's attendance marks of August 2024.

The column kept its type and what stands in it means something else. A school is compared, promoted and read
anew, and nothing of that looks as if the school had corrected all those marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from datetime import date
from typing import NamedTuple

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import record_pb2 as records
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_MEANING_AUTHORISED_ABSENCE
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_sdk.testing.entities import Mark
from schoolgate_sdk.testing.world import World
from tests.e2e.conftest import Service
from tests.support.live import CLOSED_YEAR, Live, live, part_of, refused
from tests.support.served import new_request_id
from tests.support.simulator import Simulator, start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL, MARKS = "august-2024", "attendance_marks"
SEED, PUPILS, BEGINS, MARKS_UNTIL = 11, 60, date(2024, 9, 1), date(2025, 2, 1)


class Case(NamedTuple):
    """A school that was synced with version 1, and its marks as Bromcom writes them."""

    service: Live
    simulator: Simulator
    written: list[Mark]

    def compare(self, to: int, **request: int) -> d.CompareParsersResponse:
        return self.service.diagnostics.CompareParsers(
            d.CompareParsersRequest(school_id=SCHOOL, dataset=MARKS, to_version=to, **request)
        )

    def promote(self, version: int) -> None:
        school = schools.School(school_id=SCHOOL, parser_versions={MARKS: version})
        request = schools.UpdateSchoolRequest(school=school, request_id=new_request_id())
        request.update_mask.paths.append("parser_versions")
        self.service.schools.UpdateSchool(request)

    def marks(self, seq: int = 0) -> dict[str, records.Record]:
        found = self.service.records(SCHOOL, kinds.KIND_ATTENDANCE_MARK, seq=seq)
        return {record.id: record for record in found}

    def causes(self, record_id: str) -> list[str]:
        """Return what made each version, oldest first."""
        found = self.service.versions(SCHOOL, record_id)
        return [records.ChangeCause.Name(each.record.cause)[13:] for each in reversed(found)]


@pytest.fixture(scope="module")
def case(
    open_service: Service,
) -> Generator[Case]:
    options = ("--seed", str(SEED), "--pupils", str(PUPILS), "--tidy", "--mark-subcodes")
    dates = ("--academic-year-start", BEGINS.isoformat(), "--marks-until", MARKS_UNTIL.isoformat())
    world = World.build(SEED, PUPILS, BEGINS, MARKS_UNTIL)
    school = SimulatedSchool(1, world, mark_subcodes=True)
    with (
        start_simulator(*options, *dates) as simulator,
        live(open_service.target, open_service.log.parent / "data") as service,
    ):
        profile = ["attendance_mark.*", "student.surname"]
        service.register(SCHOOL, simulator, academic_year=CLOSED_YEAR, data_profile=profile)
        run = service.sync(SCHOOL)
        assert run.state == pb.RUN_STATE_SUCCEEDED
        yield Case(service, simulator, list(school.marks_written()))


def test_g08_the_marks_of_august_2024(case: Case) -> None:
    """One story from end to end, because each step is about what the one before left.

    Seen to fail where nothing is reprojected: what version 2 reads otherwise was the school's edit.
    """
    by_text = Counter(mark.code for mark in case.written)
    dental, sick = by_text["MD"], by_text["I01"] + by_text["I02"]
    assert min(dental, sick) > 10
    first = case.marks()
    # Version 1: a code of its own, and rows that are not taken, each with its decision.
    assert len(first) == len(case.written) - sick
    taken = Counter(record.attendance_mark.code for record in first.values())
    assert (taken["MD"], taken["I01"]) == (dental, 0)

    example = compared(case, dental, sick, len(first) - dental)
    assert first[example].attendance_mark.code == "MD"
    corrected = next(
        record for record in first.values() if record.attendance_mark.code == "MD" and record.id != example
    )
    correct_to_late(case, corrected)
    case.promote(2)
    run = case.service.sync(SCHOOL, MARKS)
    part = part_of(run, MARKS)
    assert (part.state, part.held) == (pb.DATASET_STATE_SUCCEEDED, 0)
    assert (part.reprojected, part.updated, part.created, part.tombstoned) == (dental + sick, 1, 0, 0)
    followed(case, first, example, corrected.id)

    again = case.service.sync(SCHOOL, MARKS)
    assert (again.state, again.seq_after) == (pb.RUN_STATE_SUCCEEDED, run.seq_after)
    answer = case.compare(2)
    assert (answer.from_version, answer.differing, answer.only_after) == (2, 0, 0)


def compared(case: Case, dental: int, sick: int, same: int) -> str:
    """Compare both versions, without asking Bromcom and without writing; return a record that differs."""
    case.simulator.clear_log()
    stored = case.service.fingerprints()
    answer = case.compare(2, examples=1)
    assert case.simulator.log()["requests"] == 0
    assert case.service.fingerprints() == stored
    assert (answer.from_version, answer.rows) == (1, len(case.written))
    assert (answer.same, answer.differing) == (same, dental)
    assert (answer.only_before, answer.only_after) == (0, sick)
    assert (answer.rejected_only_before, answer.rejected_only_after) == (sick, 0)
    differences = {difference.field: difference for difference in answer.differences}
    assert list(differences) == ["code", "meaning", "subcode"]  # the coded ones first
    [code] = differences["code"].values
    assert (code.before, code.after, code.count) == ("MD", "M", dental)
    [meaning] = differences["meaning"].values
    assert (meaning.before, meaning.after) == ("", "ATTENDANCE_MEANING_AUTHORISED_ABSENCE")
    return code.record_ids[0]


def correct_to_late(case: Case, mark: records.Record) -> None:
    """Have the school correct one mark at Bromcom."""
    pupil, day, session = mark.source_keys[0].parts
    edit = {"op": "correct_mark", "pupil": pupil.integer, "date": day.text, "session": session.text}
    case.simulator.edit({**edit, "code": "L"})


def followed(case: Case, first: dict[str, records.Record], example: str, corrected: str) -> None:
    """Check that versions show one edit by the school, and the rest as another reading."""
    before = max(record.seq for record in first.values())
    now = case.marks()
    newer = [record for record in now.values() if record.seq > before]
    assert [record.id for record in newer if record.cause == records.CHANGE_CAUSE_SOURCE] == [corrected]
    assert case.causes(corrected) == ["SOURCE", "REPROJECTION", "SOURCE"]
    assert case.causes(example) == ["SOURCE", "REPROJECTION"]
    mark = now[example].attendance_mark
    assert (mark.code, mark.subcode, mark.meaning) == ("M", "D", ATTENDANCE_MEANING_AUTHORISED_ABSENCE)
    assert now[corrected].attendance_mark.code == "L"
    assert len(now) == len(case.written)
    came = {now[record_id].cause for record_id in now.keys() - first.keys()}
    assert came == {records.CHANGE_CAUSE_REPROJECTION}
    assert case.marks(before) == first  # what was known then is what was known then


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"to_version": 9}, reasons.ERROR_REASON_PARSER_VERSION_UNKNOWN),
        ({"to_version": 2, "from_version": 9}, reasons.ERROR_REASON_PARSER_VERSION_UNKNOWN),
        ({"to_version": 0}, reasons.ERROR_REASON_REQUEST_INVALID),
        ({"to_version": 2, "from_version": -1}, reasons.ERROR_REASON_REQUEST_INVALID),
        ({"to_version": 2, "dataset": "nothing"}, reasons.ERROR_REASON_DATASET_UNKNOWN),
        ({"to_version": 2, "examples": 101}, reasons.ERROR_REASON_PAGE_SIZE_INVALID),
        ({"to_version": 2, "school_id": "nobody"}, reasons.ERROR_REASON_SCHOOL_NOT_FOUND),
    ],
)
def test_comparisons_that_cannot_be_made(
    case: Case, request_: dict[str, int | str], reason: reasons.ErrorReason.ValueType
) -> None:
    asked = d.CompareParsersRequest(**({"school_id": SCHOOL, "dataset": MARKS} | request_))  # type: ignore[arg-type]
    failure = refused(lambda: case.service.diagnostics.CompareParsers(asked))
    assert failure.reason == reasons.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def test_a_school_cannot_be_promoted_to_what_there_is_not(case: Case) -> None:
    failure = refused(lambda: case.promote(9))
    assert failure.reason == "PARSER_VERSION_UNKNOWN"
    assert failure.metadata["available"] == "1, 2"
