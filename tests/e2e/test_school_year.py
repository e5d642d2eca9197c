"""A school's year: what the MIS has is what gRPC shows, and what changes there is what changes here, exactly.

The simulator serves a world that the test builds again from the same seed and edits alike. After each edit
every record of the seven kinds is compared with the world: what changed has one version more, what left has a
tombstone with its reason, and everything else is the very record that it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from datetime import date

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_MEANING_AUTHORISED_ABSENCE, ATTENDANCE_MEANING_PRESENT
from schoolgate_sdk import KINDS
from schoolgate_sdk.testing.world import World
from tests.e2e.conftest import Service
from tests.support.bromcom_truth import shown_at_bromcom
from tests.support.live import CLOSED_YEAR, READ_KINDS, Live, digest, live, part_of, wire_key
from tests.support.looks import (
    LEFT,
    UNKNOWN,
    Changes,
    Look,
    assert_counters,
    assert_equals_the_world,
    body_of,
    changes_between,
    key_of,
)
from tests.support.simulator import Simulator, start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL = "school-year"
SEED, PUPILS, BEGINS, MARKS_UNTIL = 7, 120, date(2024, 9, 1), date(2024, 9, 21)
PROFILE = [f"{KINDS[kind].name}.*" for kind in READ_KINDS]


class SchoolYear:
    """A world, the simulator that serves the same one, and the service that syncs it."""

    def __init__(self, service: Live, simulator: Simulator) -> None:
        self.service = service
        self.simulator = simulator
        self.world = World.build(SEED, PUPILS, BEGINS, MARKS_UNTIL)
        enrolments = Counter(held.pupil for held in self.world.enrolments.values())
        self._ordinary = [number for number in self.world.pupils if enrolments[number] == 1]
        self.first_run = service.sync(SCHOOL)
        self.looks = [self.look()]

    @property
    def first(self) -> Look:
        """What there was after the first sync."""
        return self.looks[0]

    def pupil(self) -> int:
        """Return a pupil with one enrolment whom no other test is about."""
        return self._ordinary.pop(0)

    def look(self) -> Look:
        request = q.CountRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT)
        seq = self.service.query.CountRecords(request).seq
        return Look.of(shown_at_bromcom(self.world), self.service.everything(SCHOOL).values(), seq)

    def edit(self, *edits: Mapping[str, object]) -> Changes:
        """Edit the world on both sides, sync, and return what changed, after having compared everything."""
        before = self.looks[-1]
        for edit in edits:
            assert self.simulator.edit(edit) == self.world.apply(edit)
        run = self.service.sync(SCHOOL)
        assert run.state == pb.RUN_STATE_SUCCEEDED, run
        after = self.look()
        self.looks.append(after)
        assert_equals_the_world(after)
        changes = changes_between(before, after, run)
        assert_counters(changes)
        return changes


@pytest.fixture(scope="module")
def year(open_service: Service) -> Generator[SchoolYear]:
    """A synced school; pages of 700 rows, and every blemish that the simulator knows."""
    world = ("--seed", str(SEED), "--pupils", str(PUPILS), "--academic-year-start", str(BEGINS))
    with (
        start_simulator(*world, "--marks-until", str(MARKS_UNTIL), "--page-size", "700") as simulator,
        live(open_service.target, open_service.log.parent / "data") as service,
    ):
        settings = {"page_size": "700"}
        # A new timetable ends every entry of the old one, which would be held without this.
        threshold = schools.HoldThreshold(kind=kinds.KIND_TIMETABLE_ENTRY, updates_fraction=1.0)
        service.register(
            SCHOOL,
            simulator,
            settings=settings,
            academic_year=CLOSED_YEAR,
            data_profile=PROFILE,
            hold_thresholds=[threshold],
        )
        yield SchoolYear(service, simulator)


# --- the first sync ----------------------------------------------------------------------------------------


def test_the_first_sync_shows_the_whole_school(year: SchoolYear) -> None:
    assert year.first_run.state == pb.RUN_STATE_SUCCEEDED
    assert_equals_the_world(year.first)
    nothing = Look({}, {}, 0)
    first = changes_between(nothing, year.first, year.first_run)
    assert_counters(first)
    counted = first.count()["created"]
    assert set(counted) == {KINDS[kind].name for kind in READ_KINDS}
    assert counted["student"] == PUPILS
    assert counted["attendance_mark"] > 2000


def test_codes_have_their_meaning_where_one_is_known(year: SchoolYear) -> None:
    unknown: set[tuple[str, str]] = set()
    meanings: dict[tuple[str, str], str] = {}
    for record in year.first.records.values():
        body = body_of(record)
        for code, meaning in KINDS[record.kind].coded.items():
            if body.HasField(meaning):
                number = getattr(body, meaning)
                meanings[code, getattr(body, code)] = (
                    body.DESCRIPTOR.fields_by_name[meaning].enum_type.values_by_number[number].name
                )
            elif body.HasField(code):
                unknown.add((code, getattr(body, code)))
    assert unknown == {("type_code", "HOUSE"), ("type_code", "YEARGRP"), ("type_code", "OTHER")}
    assert meanings["type_code", "TUTORGRP"] == "GROUP_TYPE_TUTOR_GROUP"
    assert meanings["role_code", "Main Teacher"] == "STAFF_ROLE_MAIN_TEACHER"
    assert meanings["code", "/"] == meanings["code", "\\"] == "ATTENDANCE_MEANING_PRESENT"
    assert meanings["sex_code", "F"] == "SEX_FEMALE"
    assert meanings["status_code", "C"] == "ENROLMENT_STATUS_CURRENT"


def test_g03_a_further_sync_writes_nothing_but_its_run(year: SchoolYear) -> None:
    assert sum(part.rejected_rows for part in year.first_run.datasets) > 0, (
        "the MIS is as untidy as it can be"
    )
    before = digest(year.service.documents())
    run = year.service.sync(SCHOOL)
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert run.seq_after == run.seq_before
    after = digest(year.service.documents())
    assert after["runs"].pop(run.run_id)
    assert after == before


def test_g03_rows_that_come_twice_change_no_record(year: SchoolYear) -> None:
    before = year.service.data()
    year.simulator.faults({"kind": "duplicate_rows", "entity": "StudentFlatView", "times": None})
    try:
        runs = [year.service.sync(SCHOOL, "students") for _ in range(2)]
    finally:
        year.simulator.clear_faults()
    for run in runs:
        part = part_of(run, "students")
        assert part.state == pb.DATASET_STATE_SUCCEEDED
        assert part.rejected_rows >= part.rows_read // 2
    assert year.service.data() == before


# --- edits -------------------------------------------------------------------------------------------------


def test_a_joiner(year: SchoolYear) -> None:
    changes = year.edit({"op": "join", "on": "2024-09-10", "forename": "Zoë", "surname": "O'Brien"})
    counted = changes.count()
    assert set(counted) == {"created"}
    assert counted["created"]["student"] == counted["created"]["enrolment"] == 1
    assert counted["created"]["group_membership"] > 1
    assert counted["created"]["attendance_mark"] > 1
    number = max(year.world.pupils)
    asked = q.GetRecordRequest(
        school_id=SCHOOL, kind=kinds.KIND_STUDENT, source_key=wire_key("bromcom/student", number)
    )
    joined = year.service.query.GetRecord(asked).record
    assert (joined.student.forename, joined.student.surname) == ("Zoë", "O'Brien")


def test_a_renamed_pupil(year: SchoolYear) -> None:
    pupil = year.pupil()
    before = year.world.pupils[pupil].surname
    changes = year.edit({"op": "rename", "pupil": pupil, "surname": "Ní Bhriain"})
    assert changes.count() == {"updated": {"student": 1}}
    newest, oldest = year.service.versions(SCHOOL, changes.updated[0].id)
    assert newest.record.student.surname == "Ní Bhriain"
    assert (list(newest.changed_fields), newest.HasField("superseded_at")) == (["surname"], False)
    assert (oldest.record.student.surname, oldest.HasField("superseded_at")) == (before, True)


def test_a_upn_that_changes_is_no_other_pupil(year: SchoolYear) -> None:
    changes = year.edit({"op": "change_upn", "pupil": year.pupil(), "upn": "R201100018042"})
    assert changes.count() == {"updated": {"student": 1}}
    [newest, _] = year.service.versions(SCHOOL, changes.updated[0].id)
    assert list(newest.changed_fields) == ["upn"]


def test_a_corrected_mark(year: SchoolYear) -> None:
    mark = next(mark for mark in year.world.marks(pupils={year.pupil()}) if mark.code == "/")
    correction = {"op": "correct_mark", "pupil": mark.pupil, "date": mark.date.isoformat(), "code": "I"}
    changes = year.edit({**correction, "session": mark.session})
    assert changes.count() == {"updated": {"attendance_mark": 1}}
    newest, oldest = year.service.versions(SCHOOL, changes.updated[0].id)
    assert {"code", "meaning"} <= set(newest.changed_fields) <= {"code", "meaning", "comment"}
    assert newest.record.attendance_mark.meaning == ATTENDANCE_MEANING_AUTHORISED_ABSENCE
    assert oldest.record.attendance_mark.meaning == ATTENDANCE_MEANING_PRESENT


def test_a_move_between_groups(year: SchoolYear) -> None:
    pupil = year.pupil()
    tutor_groups = year.world.tutor_groups()
    source = tutor_groups[pupil].number
    target = next(group.number for group in tutor_groups.values() if group.number != source)
    changes = year.edit(
        {"op": "move_group", "pupil": pupil, "from_group": source, "to_group": target, "on": "2024-09-16"}
    )
    assert changes.count() == {"updated": {"group_membership": 1}, "created": {"group_membership": 1}}
    assert changes.updated[0].group_membership.valid_to == "2024-09-16"
    assert changes.created[0].group_membership.valid_from == "2024-09-16"


def test_g04_a_leaver_who_comes_back_has_both_lives_under_one_id(year: SchoolYear) -> None:
    """Nobody said that the pupil would leave: from one day to the next the rows are gone."""
    pupil = year.pupil()
    gone = year.edit({"op": "leave", "pupil": pupil, "on": "2024-09-17"})
    assert gone.count()["left"]["student"] == gone.count()["left"]["enrolment"] == 1
    assert "created" not in gone.count()
    back = year.edit({"op": "rejoin", "pupil": pupil, "on": "2024-09-19"})
    assert back.count()["revived"]["student"] == 1
    assert back.count()["created"]["enrolment"] == 1
    [returned] = [record for record in back.revived if record.kind == kinds.KIND_STUDENT]
    lives = [
        (version.record.version, version.record.tombstone.reason)
        for version in year.service.versions(SCHOOL, returned.id)
    ]
    assert lives == [(3, 0), (2, UNKNOWN), (1, 0)]


def test_a_leaver_whose_last_day_was_known(year: SchoolYear) -> None:
    pupil = year.pupil()
    last_day = year.world.today
    announced = year.edit({"op": "leave", "pupil": pupil, "on": _day_after(last_day)})
    assert announced.count()["updated"]["enrolment"] == 1
    assert not [one for one in announced.left if one.kind in {kinds.KIND_STUDENT, kinds.KIND_ENROLMENT}]
    contacts = min(3, sum(1 for link in year.world.contact_links.values() if link.pupil == pupil))
    gone = year.edit({"op": "advance", "to": _day_after(last_day)})
    of_contacts = {"contact": contacts, "student_contact": contacts} if contacts else {}
    assert gone.count()["left"] == {"student": 1, "enrolment": 1, "admission": 1, **of_contacts}
    people = [one for one in gone.left if one.kind in {kinds.KIND_STUDENT, kinds.KIND_ENROLMENT}]
    assert {record.tombstone.reason for record in people} == {LEFT}
    assert gone.count()["created"]["attendance_mark"] > PUPILS


def _day_after(day: date) -> str:
    return date.fromordinal(day.toordinal() + 1).isoformat()


def test_two_pupils_who_were_one(year: SchoolYear) -> None:
    """The MIS does not tell of a merge: the loser's rows are gone, and nobody says why."""
    loser, survivor = year.pupil(), year.pupil()
    changes = year.edit({"op": "merge", "loser": loser, "survivor": survivor})
    left = changes.count()["left"]
    assert (left["student"], left["enrolment"]) == (1, 1)
    assert left["attendance_mark"] > 1
    people = [record for record in changes.left if record.kind == kinds.KIND_STUDENT]
    assert [record.tombstone.reason for record in people] == [UNKNOWN]
    assert {key_of(record.source_keys[0]) for record in people} == {("bromcom/student", (loser,))}


def test_a_pupil_under_a_new_number(year: SchoolYear) -> None:
    """The person number tells that it is the same pupil, who keeps the id; what the old number was a part of
    the key of (enrolment and marks) comes anew, and refers to the same pupil."""
    pupil = year.pupil()
    person = year.world.pupils[pupil].person_number
    holder = q.GetRecordRequest(
        school_id=SCHOOL, kind=kinds.KIND_STUDENT, source_key=wire_key("bromcom/person", person)
    )
    before = year.service.query.GetRecord(holder).record
    changes = year.edit({"op": "rekey", "pupil": pupil, "new_number": 70_001})
    counted = changes.count()
    assert counted["updated"] == {"student": 1}
    assert counted["created"] == counted["left"]
    assert counted["created"]["enrolment"] == 1
    assert {r.attendance_mark.student_id for r in changes.created if r.HasField("attendance_mark")} == {
        before.id
    }
    after = year.service.query.GetRecord(holder).record
    assert (after.id, after.version) == (before.id, before.version + 1)
    by_new_number = q.GetRecordRequest(
        school_id=SCHOOL, kind=kinds.KIND_STUDENT, source_key=wire_key("bromcom/student", 70_001)
    )
    assert year.service.query.GetRecord(by_new_number).record == after


def test_a_new_timetable_changes_lessons_and_teachers_only(year: SchoolYear) -> None:
    changes = year.edit({"op": "rebuild_timetable", "on": year.world.today.isoformat()})
    counted = changes.count()
    assert set(counted) <= {"created", "updated"}
    changed = {"staff_assignment", "timetable_entry"}
    assert set(counted["created"]) == set(counted["updated"]) == changed


def test_g12_what_was_known_at_a_seq_is_known_for_ever(year: SchoolYear) -> None:
    year.edit({"op": "rename", "pupil": year.pupil(), "forename": "Siân"})
    for look in {id(look): look for look in (year.looks[0], *year.looks[-3:])}.values():
        then = year.service.everything(SCHOOL, seq=look.seq)
        assert then == {record.id: record for record in look.records.values()}
