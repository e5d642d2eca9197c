"""G03, G04, G05, G09: repetition changes nothing, lives are kept, keys compare by part, no row is lost."""

from __future__ import annotations

import random

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import kind_pb2 as kinds
from tests.support.documents import documents
from tests.support.engine import SCHOOL, Engine, outcome, record_id
from tests.support.scripted import GROUPS, MARKS, MEMBERSHIPS, STUDENTS, group, mark, member, student


def ugly_school(engine: Engine) -> None:
    """Rows with duplicates, conflicts, an unknown code, a broken row and an unknown person."""
    rows = engine.mis.rows
    rows[STUDENTS] = [student(n, f"Surname {n}", person=1000 + n) for n in range(1, 41)]
    rows[STUDENTS] += [student(3, "Surname 3", person=1003), student(4, "Another", person=1004)]
    rows[STUDENTS] += [
        student(99, "Broken", broken=True),
        student(5, "Z", person=1005),
        student(5, "A", person=1005),
    ]
    rows[GROUPS] = [group(1), group(2), group(2)]
    rows[MEMBERSHIPS] = [member(1, 1001), member(2, 4444)]
    rows[MARKS] = [mark(n, "2026-10-01", "/" if n % 3 else "?") for n in range(1, 41)]
    rows[MARKS].append(mark(1, "2031-01-01"))


async def test_g03_a_second_sync_writes_nothing_but_its_run(engine: Engine) -> None:
    ugly_school(engine)
    await engine.sync()
    before = await documents(engine.store)
    run = await engine.sync()
    after = await documents(engine.store)
    assert [(p.created, p.updated, p.tombstoned, p.revived) for p in run.datasets] == [(0, 0, 0, 0)] * 4
    assert run.seq_after == run.seq_before
    assert set(after.pop("runs")) - set(before.pop("runs")) == {run.run_id}
    [head_before], [head_after] = before.pop("heads").values(), after.pop("heads").values()
    for head in (head_before, head_after):  # who holds the school is no part of its data
        del head["lease"], head["epoch"]
    assert head_after == head_before
    assert after == before


async def test_g03_whatever_order_the_rows_come_in(engine: Engine) -> None:
    ugly_school(engine)
    await engine.sync()
    shuffled = random.Random(7)
    for _ in range(5):
        for rows in engine.mis.rows.values():
            shuffled.shuffle(rows)
        run = await engine.sync()
        assert [(p.created, p.updated, p.tombstoned, p.revived) for p in run.datasets] == [(0, 0, 0, 0)] * 4


async def test_g04_both_lives_are_kept_under_one_id(engine: Engine) -> None:
    engine.mis.rows[STUDENTS] = [student(n) for n in range(1, 31)]
    await engine.sync(STUDENTS)
    gone = engine.mis.rows[STUDENTS].pop(0)
    await engine.sync(STUDENTS)
    engine.mis.rows[STUDENTS].append(gone)
    run = await engine.sync(STUDENTS)
    assert outcome(run, STUDENTS).revived == 1
    versions = await engine.store.records.versions(
        SCHOOL, record_id(kinds.KIND_STUDENT, STUDENTS, 1), None, 10
    )
    assert [(record.version, record.HasField("tombstone")) for record, _ in versions] == [
        (3, False),
        (2, True),
        (1, False),
    ]


async def test_g05_an_integer_is_not_its_digits(engine: Engine) -> None:
    engine.mis.rows[STUDENTS] = [student(1, "Integer"), student("1", "Text")]
    await engine.sync(STUDENTS)
    surnames = {
        record.source_keys[0].parts[0].WhichOneof("value"): record.student.surname
        for record in await engine.records(kinds.KIND_STUDENT)
    }
    assert surnames == {"integer": "Integer", "text": "Text"}
    engine.mis.rows[STUDENTS] = [student(1, "Integer")]
    engine.mis.rows[STUDENTS] += [student(n) for n in range(50, 60)]
    await engine.sync(STUDENTS)
    dead = [r.student.surname for r in await engine.records(kinds.KIND_STUDENT) if r.HasField("tombstone")]
    assert dead == ["Text"]


async def test_g05_parts_never_run_together(engine: Engine) -> None:
    """The last two parts of a membership's key are chosen so that joined text could not tell them apart."""
    engine.mis.rows[MEMBERSHIPS] = [
        {"group": "a", "person": "bc", "from": "2026-09-01", "to": ""},
        {"group": "ab", "person": "c", "from": "2026-09-01", "to": ""},
        {"group": 'a","b', "person": "c", "from": "2026-09-01", "to": ""},
        {"group": "a", "person": 'b","c', "from": "2026-09-01", "to": ""},
    ]
    run = await engine.sync(MEMBERSHIPS)
    assert outcome(run, MEMBERSHIPS).created == 4
    ids = {record.id for record in await engine.records(kinds.KIND_GROUP_MEMBERSHIP)}
    assert len(ids) == 4
    del engine.mis.rows[MEMBERSHIPS][1]
    await engine.sync(MEMBERSHIPS)
    assert await engine.live(kinds.KIND_GROUP_MEMBERSHIP) == 3


async def test_g09_every_row_that_is_not_taken_has_a_decision(engine: Engine) -> None:
    ugly_school(engine)
    engine.mis.rows[STUDENTS].append(student(None))  # type: ignore[arg-type]
    engine.mis.rows[STUDENTS].append({"id": 77})  # the parser stumbles over the missing surname
    run = await engine.sync()
    part = outcome(run, STUDENTS)
    assert part.rows_read == await engine.live(kinds.KIND_STUDENT) + part.rejected_rows
    reasons = [diagnostics.DecisionReason.Name(d.reason) for d in await engine.decisions(STUDENTS)]
    assert sorted(reasons) == [
        "DECISION_REASON_CONFLICTING_ROW",
        "DECISION_REASON_CONFLICTING_ROW",
        "DECISION_REASON_DUPLICATE_ROW",
        "DECISION_REASON_KEY_MISSING",
        "DECISION_REASON_PARSER_ERROR",
        "DECISION_REASON_VALUE_INVALID",
    ]
    assert [d.reason for d in await engine.decisions(GROUPS)] == [diagnostics.DECISION_REASON_DUPLICATE_ROW]
    assert [d.reason for d in await engine.decisions(MEMBERSHIPS)] == [
        diagnostics.DECISION_REASON_REFERENCE_UNRESOLVED
    ]
    assert sorted(d.reason for d in await engine.decisions(MARKS)) == [
        diagnostics.DECISION_REASON_CODE_UNMAPPED,
        diagnostics.DECISION_REASON_OUT_OF_SCOPE,
    ]


async def test_g09_a_decision_holds_no_pupils_data(engine: Engine) -> None:
    engine.mis.rows[STUDENTS] = [
        student(1, "Quagmire-Smith"),
        student(1, "Quagmire-Jones"),
        student(2, "Quagmire-Brown", broken=True),
        {"id": 3, "surname": {"Quagmire": 1}},
    ]
    run = await engine.sync(STUDENTS)
    assert outcome(run, STUDENTS).rejected_rows == 3
    assert "Quagmire" not in str(await engine.decisions()) + str(run)


async def test_g10_a_further_key_of_a_row_that_was_not_taken_outlives_its_run(engine: Engine) -> None:
    """Whether students and memberships are read in one run, in two, or in one that was interrupted."""
    rows = engine.mis.rows
    rows[STUDENTS] = [student(1, "Adeyemi", person=1001)]
    await engine.sync(STUDENTS)
    person = 2000
    updated = 1
    while updated:  # the least rank wins, so sooner or later a row loses
        person += 1
        rows[STUDENTS].append(student(1, f"Surname {person}", person=person))
        updated = outcome(await engine.sync(STUDENTS), STUDENTS).updated
    rows[MEMBERSHIPS] = [member(1, person)]
    await engine.sync(MEMBERSHIPS)
    [membership] = await engine.records(kinds.KIND_GROUP_MEMBERSHIP)
    assert membership.group_membership.student_id == record_id(kinds.KIND_STUDENT, STUDENTS, 1)
