"""Accepting, deciding about and undoing writes: once per key, by whom it may be, and only what may be."""

from __future__ import annotations

from scripts.mutations.base import AT_WONDE, WONDE, Mutant

WRITEBACK = "server/src/schoolgate_server/writeback"
SUBMISSION = f"{WRITEBACK}/submission.py"
DECISIONS = f"{WRITEBACK}/decisions.py"
POLICIES = f"{WRITEBACK}/policies.py"
REVERSAL = f"{WRITEBACK}/reversal.py"

AT_SUBMISSION = "tests/integration/writeback/test_submission.py"
AT_DECISIONS = "tests/integration/writeback/test_decisions.py"
AT_REVERSAL = "tests/integration/writeback/test_reversal.py"

MUTANTS = (
    Mutant(
        "g19",
        "a stop takes the quota with it",
        POLICIES,
        'if request.HasField("daily_quota") else None',
        'if request.HasField("daily_quota") else 0',
        AT_DECISIONS,
        "outlives and mongomock",
    ),
    Mutant(
        "g11",
        "an edited action of one source record is another write",
        "server/src/schoolgate_server/model/writes.py",
        "    if source_record_id:\n",
        "    if source_record_id and not source_record_id:\n",
        AT_SUBMISSION,
        "says_anew and mongomock",
    ),
    Mutant(
        "g11",
        "one moment is another with another offset",
        "server/src/schoolgate_server/model/writes.py",
        "else at.astimezone(UTC).isoformat()",
        "else moment",
        AT_SUBMISSION,
        "one_moment_is_one and mongomock",
    ),
    Mutant(
        "g11",
        "a key that came before is looked at after the policy",
        SUBMISSION,
        "if violations.are_any or request.validate_only or rule.policy not in LETS_THROUGH:",
        "if violations.are_any or request.validate_only:",
        AT_SUBMISSION,
        "whatever_has_changed and mongomock",
    ),
    Mutant(
        "g11",
        "a key that came before is looked at after the copy",
        SUBMISSION,
        "if violations.are_any or request.validate_only or rule.policy not in LETS_THROUGH:",
        "if request.validate_only or rule.policy not in LETS_THROUGH:",
        AT_SUBMISSION,
        "whatever_has_changed and mongomock",
    ),
    Mutant(
        "g11",
        "a key may come again with another action",
        SUBMISSION,
        "    if not is_same:\n",
        "    if not is_same and not write.write_id:\n",
        AT_SUBMISSION,
        "another_action and mongomock",
    ),
    Mutant(
        "g11",
        "the place of a write is found beside others about the same",
        SUBMISSION,
        "async with lock:\n",
        "if lock:\n",
        AT_SUBMISSION,
        "(order_of_their_answers or many_at_once) and mongod",
    ),
    Mutant(
        "g11",
        "a quota that is full refuses what it counted",
        SUBMISSION,
        "                    if there is None:\n                        raise",
        "                    if True:\n                        raise",
        AT_SUBMISSION,
        "filled_meanwhile and mongomock",
    ),
    Mutant(
        "g19",
        "a policy that is off lets through",
        SUBMISSION,
        "        if rule.policy not in LETS_THROUGH:",
        "        if rule.policy not in pb.WritePolicy.values():",
        "tests/integration/writeback",
        "(nobody_set or obeys_policy) and mongomock",
    ),
    Mutant(
        "g19",
        "off leaves queued what it is to cancel",
        POLICIES,
        "elif request.cancel_queued:",
        "elif not request.school_id:",
        AT_DECISIONS,
        "off_cancels and mongomock",
    ),
    Mutant(
        "g19",
        "what waits stays where it is when it may go",
        POLICIES,
        "await store.writes.requeue(school_id, environment, operations, now)",
        "pass",
        AT_DECISIONS,
        "what_waits and mongomock",
    ),
    Mutant(
        "g11",
        "who submits may approve",
        DECISIONS,
        "if write.submitted_by == caller:",
        "if not write.submitted_by:",
        AT_DECISIONS,
        "another_person and mongomock",
    ),
    Mutant(
        "g11",
        "what is being sent may be cancelled",
        DECISIONS,
        "if entry.write.state != pb.WRITE_STATE_PENDING:\n                raise",
        "if entry.write.state == pb.WRITE_STATE_CANCELLED:\n                raise",
        AT_DECISIONS,
        "not_left and mongomock",
    ),
    Mutant(
        "g11",
        "one effect may be two writes'",
        DECISIONS,
        "        if other is not None:\n",
        "        if other is not None and not other:\n",
        AT_DECISIONS,
        "one_effect and mongomock",
    ),
    Mutant(
        "g11",
        "a mark that the school corrected is overwritten, or deleted",
        REVERSAL,
        "if before is None or original.write.state == pb.WRITE_STATE_DIVERGED:",
        "if before is None:",
        AT_REVERSAL,
        "task and diverged and mongomock",
    ),
    Mutant(
        "g11",
        "a mark that the school had is deleted",
        REVERSAL,
        "    if before.record is not None:\n        restored",
        "    if before.record is not None and not before.record_id:\n        restored",
        AT_REVERSAL,
        "there_before and mongomock",
    ),
    Mutant(
        "g11",
        "an older value is put over a newer one",
        REVERSAL,
        "    if write.superseded_by:\n",
        "    if write.superseded_by and not write.write_id:\n",
        AT_REVERSAL,
        "later_write and mongomock",
    ),
    Mutant(
        "g18",
        "a form of Wonde's leaves out who takes the register",
        f"{WONDE}/writing.py",
        '"employee_id": self.staff, ',
        "",
        f"{AT_WONDE}/test_writing.py",
        "takes_the_register",
    ),
)
