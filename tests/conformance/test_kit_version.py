"""Whoever adds a check raises the kit's version: certificates of one version say that as much was asked."""

from __future__ import annotations

from schoolgate_sdk.testing.conformance import kit
from schoolgate_sdk.testing.conformance.certificate import KIT_VERSION

VERSION = 5
CHECKS = """
description: fields versions order capabilities
arrives: school academic_year student staff contact student_contact subject group group_membership
    staff_assignment enrolment room period timetable_entry attendance_code attendance_mark
    assessment_result behaviour_event admission local_code references deletions window
edit: join leave leave_at_once rejoin rename change_upn move_group correct_mark merge rekey
    rebuild_timetable add_contact share_contact change_contact unlink_contact record_behaviour
    correct_behaviour delete_behaviour record_result record_lesson_mark withdraw_consent grant_consent
    advance everything
waivers: needed
parser: pure deterministic refuses
keys: structural stable
reading: pages resume stray_cursor count read_back moved_under memory
changes: follow deletions expired
grants: states revoked revoked_mid_read
credentials: refused
secrecy: texts
wire: slow late cut reset status rate_limit invalid_json success_false null_data truncate_page
    duplicate_rows padded_rows loop_page other_school mark_change registration_hour expire_credentials
pacing: traffic pause shared
write.record_attendance_mark: effect lost_answer no_effect twice refused announced stopped
write.record_behaviour_event: effect lost_answer no_effect twice refused announced stopped
write.record_assessment_result: effect lost_answer no_effect twice refused announced stopped
"""


def _ids() -> list[str]:
    ids: list[str] = []
    family = ""
    for word in CHECKS.split():
        if word.endswith(":"):
            family = word[:-1]
        else:
            ids.append(f"{family}.{word}")
    return ids


def test_the_version_is_raised_with_what_is_asked() -> None:
    """Seen to fail with a check more, and with another version."""
    assert ([check.id for check in kit.CHECKS], KIT_VERSION) == (_ids(), VERSION), (
        "the kit's checks or version are others than those written down here: where a check is new or asks "
        "for more, raise KIT_VERSION (schoolgate_sdk.testing.conformance.certificate), write both down here, "
        "and issue the certificates again (make certificates)"
    )
