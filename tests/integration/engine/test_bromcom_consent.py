"""Point 6 of what a Bromcom connector must survive: people without "Data Processing Consent Granted" do not
come through, and nobody says that this is why.
"""

from __future__ import annotations

from datetime import date

import pytest

from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK, KIND_STUDENT
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_UNKNOWN_ABSENCE, Record
from schoolgate_sdk.testing.world import World
from schoolgate_server.store.store import Store
from tests.integration.engine.test_bromcom_surfaces import Bromcom, bromcom

pytestmark = pytest.mark.slow


async def _by_upn(mis: Bromcom) -> dict[str, Record]:
    return {record.student.upn: record for record in await mis.engine.records(KIND_STUDENT)}


@pytest.mark.parametrize("surface", ["partner", "soap"])
async def test_6_who_lacks_consent_is_absent_for_no_known_reason_and_comes_back_as_the_same(
    store: Store, surface: str
) -> None:
    """Neither ``DELETED_IN_MIS`` nor ``LEFT``: that a pupil is not shown says neither. Seen to fail with the
    former for everybody who is absent.
    """
    world = World.build(seed=7, pupils=30, marks_until=date(2026, 9, 12))
    async with bromcom(store, world) as mis:
        await mis.sync("students", "attendance_marks", surface=surface)
        pupil = list(world.pupils)[3]
        upn = world.pupils[pupil].upn or ""
        before = (await _by_upn(mis))[upn]
        marks = await mis.engine.live(KIND_ATTENDANCE_MARK)

        mis.school.apply({"op": "withdraw_consent", "pupil": pupil})
        await mis.sync("students", "attendance_marks", surface=surface)
        absent = (await _by_upn(mis))[upn]
        assert absent.tombstone.reason == TOMBSTONE_REASON_UNKNOWN_ABSENCE
        dead = [r for r in await mis.engine.records(KIND_ATTENDANCE_MARK) if r.HasField("tombstone")]
        assert {record.tombstone.reason for record in dead} == {TOMBSTONE_REASON_UNKNOWN_ABSENCE}
        assert {record.attendance_mark.student_id for record in dead} == {before.id}

        mis.school.apply({"op": "grant_consent", "pupil": pupil})
        await mis.sync("students", "attendance_marks", surface=surface)
        after = (await _by_upn(mis))[upn]
        assert (after.id, after.HasField("tombstone")) == (before.id, False)
        assert after.student == before.student
        assert await mis.engine.live(KIND_ATTENDANCE_MARK) == marks
