"""Sending writes at most once, stopping them at once, and finding out what became of them."""

from __future__ import annotations

from scripts.mutations.base import Mutant

WRITEBACK = "server/src/schoolgate_server/writeback"
SENDING = f"{WRITEBACK}/sending.py"
GATE = f"{WRITEBACK}/gate.py"
SETTLING = f"{WRITEBACK}/settling.py"
TRANSITIONS = f"{WRITEBACK}/transitions.py"
WORKER = f"{WRITEBACK}/worker.py"
OUTCOMES = "tests/integration/writeback/test_g11_outcomes.py"
CRASHES = "tests/integration/writeback/test_g11_crashes.py"
SWITCH = "tests/integration/writeback/test_g19_kill_switch.py"
CONFIRMATION = "tests/integration/writeback/test_confirmation.py"
DECISIONS = "tests/integration/writeback/test_decisions.py"
RESOLUTIONS = "tests/integration/writeback/test_resolutions.py"

MUTANTS = (
    Mutant(
        "g19",
        "what waited at the gate when the queue was cancelled is sent under the next policy",
        GATE,
        "return before is not None and queued_at <= before",
        "return False",
        SWITCH,
        "cancelled_while",
    ),
    Mutant(
        "g19",
        "what was cancelled at the gate leaves where it is on again at once",
        GATE,
        "is_cancelled = self._entry.settles_at is None and self._policy.cancels(self._entry)",
        "is_cancelled = False",
        SWITCH,
        "cancelled_at_the_gate",
    ),
    Mutant(
        "g11",
        "what a person has sent again is cancelled by what was decided before",
        GATE,
        "queued_at = entry.requeued_at or entry.write.submitted_at.ToDatetime(tzinfo=UTC)",
        "queued_at = entry.write.submitted_at.ToDatetime(tzinfo=UTC)",
        RESOLUTIONS,
        "stop_that_cancelled",
    ),
    Mutant(
        "g11",
        "a write is sent though another change of it came first",
        SENDING,
        "return correlation_id if await school.keeper.save(entry) else None",
        "return (await school.keeper.save(entry), correlation_id)[1]",
        CRASHES,
        "cancelled_at_any",
    ),
    Mutant(
        "g11",
        "a write is sent though nobody knows whether its intent is durable",
        SENDING,
        "            if isinstance(error, StoreUnavailable):\n                return None",
        "            if isinstance(error, StoreUnavailable):\n                return correlation_id",
        CRASHES,
        "dies_at_any",
    ),
    Mutant(
        "g11",
        "what a server left behind is queued again as if it had not left",
        WORKER,
        "to.lapse(entry, safety, school.clock(), school.options)",
        "to.absent(entry, school.clock())",
        CRASHES,
        "dies",
    ),
    Mutant(
        "g11",
        "absence counts before it has settled",
        SETTLING,
        "elif asked_at < settles_at:",
        "elif asked_at < asked_at:",
        OUTCOMES,
        "comes_after_a_look",
    ),
    Mutant(
        "g11",
        "what is found is claimed though it is another write's",
        SETTLING,
        "other = await self._claimed(entry, receipt)",
        "other = None",
        OUTCOMES,
        "another_writes",
    ),
    Mutant(
        "g11",
        "a receipt that comes late is not believed",
        TRANSITIONS,
        "if under_way or entry.write.state in _CORRIGIBLE:",
        "if under_way:",
        CRASHES,
        "store_answers_again",
    ),
    Mutant(
        "g11",
        "writes about the same do not wait for each other",
        SENDING,
        "other = await school.store.writes.ahead(entry)",
        "other = None",
        OUTCOMES,
        "in_their_order",
    ),
    Mutant(
        "g15",
        "an attempt leaves whose time is over",
        GATE,
        "if self._closed or now >= self.until:",
        "if self._closed:",
        CRASHES,
        "g15",
    ),
    Mutant(
        "g15",
        "a closed gate lets pass",
        GATE,
        "if self._closed or now >= self.until:",
        "if False:",
        CRASHES,
        "g15",
    ),
    Mutant(
        "g15",
        "an attempt leaves whose lease is over",
        GATE,
        "if lease is None or now >= lease.expires_at:",
        "if lease is None:",
        CRASHES,
        "g15",
    ),
    Mutant(
        "g19",
        "the gate does not look at the policy",
        GATE,
        "return Stop.POLICY if is_cancelled or not self._policy.lets(self._entry) else None",
        "return None",
        SWITCH,
        "after_the_switch",
    ),
    Mutant(
        "g19",
        "an old policy counts at the gate",
        GATE,
        "if not self._policy.is_fresh():",
        "if False:",
        SWITCH,
        "cannot_read",
    ),
    Mutant(
        "g19",
        "what is kept back while the policy comes back waits for ever",
        SENDING,
        "if latest is not None and ending.verdict.then is Then.HELD:",
        "if False:",
        SWITCH,
        "comes_back",
    ),
    Mutant(
        "g11",
        "a record that differs does not tell that the MIS is right",
        f"{WRITEBACK}/confirming.py",
        "to.diverge(entry, [], _named(fields), now)",
        "return",
        CONFIRMATION,
        "says_otherwise",
    ),
    Mutant(
        "g11",
        "a later write of the same looks like the MIS saying otherwise",
        f"{WRITEBACK}/confirming.py",
        "if is_earlier and not earlier.write.superseded_by:",
        "if False:",
        CONFIRMATION,
        "supersedes",
    ),
    Mutant(
        "g11",
        "what a person declared void counts on, and a write that never left is taken for sent",
        TRANSITIONS,
        "entry.voided = write.attempts[-1].number if write.attempts else 0",
        "entry.voided = 0",
        RESOLUTIONS,
        "declared_void",
    ),
    Mutant(
        "g11",
        "what a person has sent again leaves while the first may be on its way",
        TRANSITIONS,
        "if safety is WriteSafety.NATIVE_KEY:\n        entry.settles_at = None",
        "if True:\n        entry.settles_at = None",
        RESOLUTIONS,
        "on_its_way",
    ),
    Mutant(
        "g11",
        "a policy that is set has what is to be sent again leave while the first may be on its way",
        SENDING,
        "if now < entry.settles_at:",
        "if False:",
        RESOLUTIONS,
        "on_its_way",
    ),
    Mutant(
        "g19",
        "an approval counts for what a person has sent again",
        f"{WRITEBACK}/decisions.py",
        'write.ClearField("approved_by")',
        "pass",
        DECISIONS,
        "approved_again",
    ),
)
