"""Take the mechanism behind each guarantee out, one at a time, and see its test fail.

    .venv/bin/python scripts/mutants.py            # all mutants
    .venv/bin/python scripts/mutants.py g02 g05    # those of some guarantees

A test that passes without the mechanism that it is about shows nothing. Each mutant is a copy of the sources
with one replacement; the named tests run against the copy and at least one must fail. Exit status 1 where a
mutant survives, or where a replacement no longer finds its text.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("server/src", "plugins/src", "connectors/bromcom/src", "connectors/wonde/src")
ENGINE = "tests/integration/engine"
SIMULATION = "tests/simulation"


class Mutant(NamedTuple):
    """One mechanism taken out: ``old`` in ``file`` becomes ``new``, and ``tests -k expression`` must fail."""

    guarantee: str
    what: str
    file: str
    old: str
    new: str
    tests: str
    expression: str


_ABSENCE = "server/src/schoolgate_server/reconcile/absence.py"
_HOLDS = "server/src/schoolgate_server/reconcile/holds.py"
_DIFF = "server/src/schoolgate_server/reconcile/diff.py"
_ABSENCES = "server/src/schoolgate_server/sync/absences.py"
_PIPELINE = "server/src/schoolgate_server/ingest/pipeline.py"
_SNAPSHOT = "server/src/schoolgate_server/sync/snapshot.py"
_DATASET = "server/src/schoolgate_server/sync/dataset.py"
_REPROJECTION = "server/src/schoolgate_server/sync/reprojection.py"
_READINGS = "server/src/schoolgate_server/store/readings.py"
_FENCES = "server/src/schoolgate_server/store/fences.py"
_LATE = "tests/contract/store/test_fences.py"
_PARTIAL = "server/src/schoolgate_server/sync/partial.py"
_CHANGES = "server/src/schoolgate_server/sync/changes.py"
_REREAD = "test_reprojection"
_WONDE = "connectors/wonde/src/schoolgate_wonde"
_AT_WONDE = "tests/contract/wonde"
_BROMCOM = "connectors/bromcom/src/schoolgate_bromcom"

MUTANTS = (
    Mutant(
        "g01",
        "an unproven end counts as the end",
        _ABSENCE,
        "if not evidence.terminator_proven:",
        "if False:",
        ENGINE,
        "g01",
    ),
    Mutant(
        "g01",
        "the MIS's count is ignored",
        _ABSENCE,
        "evidence.expected_rows != evidence.rows_read",
        "False",
        ENGINE,
        "g01",
    ),
    Mutant(
        "g01",
        "unidentified rows do not matter",
        _ABSENCE,
        "if evidence.unidentified_rows:",
        "if False:",
        ENGINE,
        "g01",
    ),
    Mutant(
        "g01",
        "absences are not checked back with the MIS",
        _ABSENCES,
        "if not isinstance(session, ReadBack):",
        "if True:",
        ENGINE,
        "g01",
    ),
    Mutant(
        "g01",
        "a connector's contradiction is ignored",
        _SNAPSHOT,
        "raise Incomplete(end.contradiction)",
        "pass",
        ENGINE,
        "g01",
    ),
    Mutant(
        "g01",
        "a failed read is sealed",
        _SNAPSHOT,
        "            show_counts(self._state, ingest)\n            raise\n",
        "            show_counts(self._state, ingest)\n            end = EndOfSnapshot(True)\n",
        ENGINE,
        "g01",
    ),
    Mutant(
        "g08",
        "a changed scope counts as the same",
        _DATASET,
        "evidence.scope_unchanged = {each.scope_fingerprint for each in since} <= {asked}",
        "evidence.scope_unchanged = True",
        ENGINE,
        "g08",
    ),
    Mutant(
        "g08",
        "a snapshot from another interface of the MIS counts as one of the same scope",
        _SNAPSHOT,
        'if evidence.surface and self._surfaces - {"", evidence.surface}:',
        "if False:",
        f"{ENGINE}/test_bromcom_surfaces.py",
        "not_gone",
    ),
    Mutant(
        "g08",
        "nothing is read anew",
        _REPROJECTION,
        "        if stored is None and in_force == self._wanted:\n",
        "        if True:\n",
        f"{ENGINE}/{_REREAD}.py",
        "g08",
    ),
    Mutant(
        "g08",
        "another reading is the school's doing",
        _REPROJECTION,
        "mode = Mode(cause=CHANGE_CAUSE_REPROJECTION, update_cause=CHANGE_CAUSE_REPROJECTION)",
        "mode = Mode()",
        f"{ENGINE}/{_REREAD}.py",
        "g08",
    ),
    Mutant(
        "g08",
        "the sealed snapshot alone says how records are read",
        _REPROJECTION,
        "if stored is None else stored.fingerprint",
        "",
        f"{ENGINE}/{_REREAD}.py",
        "taken_back",
    ),
    Mutant(
        "g07",
        "retained rows overwrite what was read since",
        _REPROJECTION,
        "diff = SnapshotDiff(newer=edits.seqs)",
        "diff = SnapshotDiff()",
        f"{ENGINE}/{_REREAD}.py",
        "g07",
    ),
    Mutant(
        "g08",
        "what was read in another way since is the school's doing",
        _REPROJECTION,
        "self._ingest.read_otherwise[name] = edits.read_otherwise",
        "pass",
        f"{ENGINE}/{_REREAD}.py",
        "g07",
    ),
    Mutant(
        "g08",
        "without rows the read is taken at its word",
        _REPROJECTION,
        "            apart=False,\n",
        "            apart=True,\n",
        f"{ENGINE}/{_REREAD}.py",
        "cannot_tell or sealed",
    ),
    Mutant(
        "g08",
        "a reading may drop as much as it likes",
        _REPROJECTION,
        "found = suspicious_deletions(missing, live, policy)",
        "found = suspicious_deletions({}, live, policy)",
        f"{ENGINE}/{_REREAD}.py",
        "drops_much",
    ),
    Mutant(
        "g08",
        "a reading that knows nobody creates everybody anew",
        _REPROJECTION,
        "        if strange is not None:\n",
        "        if False:\n",
        f"{ENGINE}/{_REREAD}.py",
        "knows_nobody",
    ),
    Mutant(
        "g08",
        "rows of another scope prove that records are not read any more",
        _REPROJECTION,
        "if is_clear and self._state.evidence.scope_unchanged else []",
        "if is_clear else []",
        f"{ENGINE}/{_REREAD}.py",
        "another_scope",
    ),
    Mutant(
        "g08",
        "what the reading drops is deleted by the school where both are approved together",
        _ABSENCES,
        "if record.id in self._context.ingest.dropped.get(name, ()):",
        "if False:",
        f"{ENGINE}/{_REREAD}.py",
        "approved_together",
    ),
    Mutant(
        "g10",
        "a reading is noted as complete before it is",
        _REPROJECTION,
        '            await self._note("")\n        outcome = await self._project(last, edits)\n',
        "            await self._note(self._wanted)\n        outcome = await self._project(last, edits)\n",
        f"{ENGINE}/test_reprojection_crashes.py",
        "g10 and mongomock",
    ),
    Mutant(
        "g02",
        "no rows at all prove that all have left",
        _ABSENCE,
        "if evidence.rows_read == 0 and",
        "if False and",
        ENGINE,
        "g02",
    ),
    Mutant(
        "g02",
        "no drop is suspect",
        _HOLDS,
        "if missing and (to_zero or sharply):",
        "if False:",
        ENGINE,
        "g02",
    ),
    Mutant(
        "g02",
        "a drop to zero is not suspect",
        _HOLDS,
        "to_zero = missing == total",
        "to_zero = False",
        ENGINE,
        "g02",
    ),
    Mutant(
        "g02",
        "the share of a kind does not matter",
        _HOLDS,
        "missing > limits.deletions_fraction * total",
        "True",
        ENGINE,
        "g02",
    ),
    Mutant(
        "g02",
        "a change of everybody is not suspect",
        _HOLDS,
        "if number > limits.updates_count and",
        "if False and",
        ENGINE,
        "g02",
    ),
    Mutant(
        "g02",
        "an approval lets any change set through",
        "server/src/schoolgate_server/store/holds.py",
        '"digest": digest,\n            "approved": True,\n        }\n        return',
        '"approved": True,\n        }\n        return',
        ENGINE,
        "g02",
    ),
    Mutant(
        "g03",
        "every row counts as changed",
        _DIFF,
        "if index.stored(place) == digest and flags & LIVE:",
        "if False:",
        ENGINE,
        "g03",
    ),
    Mutant(
        "g03",
        "the last of conflicting rows wins",
        _DIFF,
        "if earlier_own > own or (earlier_own == own and earlier < digest):",
        "if False:",
        ENGINE,
        "g03",
    ),
    Mutant(
        "g03",
        "updates are not kept back until the end",
        _PIPELINE,
        "            await asyncio.sleep(0)\n        await self._store_decisions()\n",
        "            await self.finish()\n        await self._store_decisions()\n",
        ENGINE,
        "g03",
    ),
    Mutant(
        "g04",
        "a record that returns is not revived",
        _DIFF,
        "if index.stored(place) == digest and flags & LIVE:",
        "if index.stored(place) == digest:",
        ENGINE,
        "g04",
    ),
    Mutant(
        "g05",
        "keys are joined text",
        "plugins/src/schoolgate_sdk/keys.py",
        "return orjson.dumps((key.namespace, *key.parts)).decode()",
        'return orjson.dumps((key.namespace, "".join(map(str, key.parts)))).decode()',
        ENGINE,
        "g05",
    ),
    Mutant(
        "g06",
        "what the run wrote before it was interrupted can be deleted by it",
        _ABSENCES,
        "return record.run_id == self._context.ingest.run_id and record.cause == CHANGE_CAUSE_SOURCE",
        "return False",
        ENGINE,
        "g06",
    ),
    Mutant(
        "g09",
        "an oversized record stops its dataset",
        "server/src/schoolgate_server/ingest/projection.py",
        "if len(wire) > LARGEST_RECORD:",
        "if False:",
        ENGINE,
        "g09",
    ),
    Mutant(
        "g06",
        "what a run observed can be absent",
        _DIFF,
        "index.places(LIVE, OBSERVED | PROTECTED)",
        "index.places(LIVE, PROTECTED)",
        ENGINE,
        "g06 or g01_a_sealed",
    ),
    Mutant(
        "g09",
        "findings are dropped",
        _PIPELINE,
        "for finding in projection.findings:",
        "for finding in projection.findings[:0]:",
        ENGINE,
        "g09",
    ),
    Mutant(
        "g09",
        "duplicates leave no decision",
        _PIPELINE,
        "self._log.record(_duplicate(projection.records[0], same=True), self._context.clock())",
        "pass",
        ENGINE,
        "g09",
    ),
    Mutant(
        "g10",
        "retained rows are not replayed",
        _SNAPSHOT,
        "                await self._take(rows, ingest, as_of)\n                state.pages_read += 1",
        "                state.pages_read += 1",
        ENGINE,
        "g10",
    ),
    Mutant(
        "g16",
        "a defect quotes the exception's text",
        "server/src/schoolgate_server/model/failures.py",
        'return f"{name} at',
        'return f"{name} {error} at',
        "tests/unit/server/model",
        "g16",
    ),
    Mutant(
        "g16",
        "an error quotes what is sent with every request",
        "plugins/src/schoolgate_sdk/http.py",
        'asked for a pause", until=until',
        'asked for a pause {self._connection.credentials}", until=until',
        f"{ENGINE}/test_g16_planted_secrets.py",
        "g16",
    ),
    Mutant(
        "g17",
        "one school's failures open the circuit of a whole host",
        "plugins/src/schoolgate_sdk/traffic.py",
        "_PARTIES_PER_HOST: Final = 2",
        "_PARTIES_PER_HOST: Final = 1",
        f"{ENGINE}/test_politeness.py",
        "g17",
    ),
    Mutant(
        "g10",
        "an interrupted commit always counts as written",
        "server/src/schoolgate_server/store/recovery.py",
        'if written == pending["count"]:',
        "if True:",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g10",
        "counters do not survive an interruption",
        "server/src/schoolgate_server/sync/runner.py",
        "if head.run_id == run.run_id:",
        "if False:",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g12",
        "a version is still there at the moment that ended it",
        "server/src/schoolgate_server/store/reading.py",
        '"until": {"$gt": seq}',
        '"until": {"$gte": seq}',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g04",
        "pupils that were merged at the MIS only leave",
        _ABSENCES,
        "if record.id in survivors:",
        "if False:",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g08",
        "rows are not read anew before the MIS is asked",
        "server/src/schoolgate_server/sync/reprojection.py",
        "        if stored is None and in_force == self._wanted:",
        "        if True:",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g07",
        "a notification takes the place of those that wait",
        "server/src/schoolgate_server/sync/notifications.py",
        "[] if is_whole else sorted({*(before or ()), *keys})",
        "[] if is_whole else sorted(keys)",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g07",
        "a resumed run writes what it read before others over what they read after it",
        _DIFF,
        "if self._newer and self._newer.get(record_id, 0) > as_of:",
        "if False:",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g07",
        "what others wrote since can be absent from a resumed run",
        _DIFF,
        "        for record_id in self._newer:\n            self.protect(record_id)\n",
        "        pass\n",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g07",
        "an edit that a merge lies on top of does not count",
        _READINGS,
        "async for batch in self._history.batches(superseded,",
        'async for batch in self._history.batches({**superseded, "school": ""},',
        f"{ENGINE}/test_reprojection_edits.py",
        "a_merge_lies_on_top",
    ),
    Mutant(
        "g07",
        "an edit counts for the merged record only",
        _REPROJECTION,
        "for each in {record_id, survivors.get(record_id, record_id)}:",
        "for each in {record_id}:",
        f"{ENGINE}/test_reprojection_edits.py",
        "lives_on_as",
    ),
    Mutant(
        "g07",
        "an edit counts for the first of several survivors",
        _READINGS,
        "            if not onward:\n",
        "            if True:\n",
        f"{ENGINE}/test_reprojection_edits.py",
        "chain_of_merges",
    ),
    Mutant(
        "g07",
        "what is newer than the sealed rows is newer than the run that sealed them",
        _REPROJECTION,
        "return min((segment.seq for segment in last.segments), default=last.seq)",
        "return last.seq",
        f"{ENGINE}/test_reprojection_edits.py",
        "before_a_run_sealed",
    ),
    Mutant(
        "g08",
        "an edit is under the reading that brought it, whatever read it since",
        _REPROJECTION,
        "read_by[each] = max((seq, run_id), read_by[each])",
        "pass",
        f"{ENGINE}/test_reprojection_edits.py",
        "two_edits or read_otherwise_since",
    ),
    Mutant(
        "g03",
        "aliases that are looked up bring no linked keys",
        "server/src/schoolgate_server/ingest/identity.py",
        "self._links[each.record_id].add(each.key)",
        "pass",
        f"{ENGINE}/test_many_aliases.py",
        "g03",
    ),
    Mutant(
        "g05",
        "who has a row on a day that is not read is not there",
        _ABSENCES,
        "return found | self._outside.intersection(record_ids)",
        "return found",
        f"{ENGINE}/test_moved_days.py",
        "g05",
    ),
    Mutant(
        "g01",
        "a window is compared with the whole dataset",
        "server/src/schoolgate_server/sync/parts.py",
        "if scope.date_from is not None else (None, None)",
        "if False else (None, None)",
        ENGINE,
        "test_g01_a_window",
    ),
    Mutant(
        "g01",
        "what the MIS calls deleted is not asked for again",
        _PARTIAL,
        "if not isinstance(session, ReadBack) or not keys:",
        "if True:",
        ENGINE,
        "test_g01_what_the_mis_calls_deleted",
    ),
    Mutant(
        "g02",
        "deletions that a read of changes brings have no threshold",
        _PARTIAL,
        "if leaving else []",
        "if False else []",
        ENGINE,
        "test_g02_mass_deletions",
    ),
    Mutant(
        "g02",
        "updates of a partial read have no threshold",
        _PARTIAL,
        "if changed else []",
        "if False else []",
        ENGINE,
        "test_g02_a_flood",
    ),
    Mutant(
        "g03",
        "which of several rows counts depends on what a merge changes",
        "server/src/schoolgate_server/ingest/projection.py",
        "rank = conflict_rank(wire, _named(item) if refs or other_keys else ())",
        "rank = 0",
        ENGINE,
        "test_g03_a_merge_does_not_change_which",
    ),
    Mutant(
        "g06",
        "a read of changes lets go of what it wrote",
        _PARTIAL,
        "if record.run_id == self._context.ingest.run_id]",
        "if False]",
        ENGINE,
        "test_g06_what_this_read_changed",
    ),
    Mutant(
        "g07",
        "of several changes of one entity the least digest counts",
        _PARTIAL,
        "if records and all(",
        "if False and all(",
        ENGINE,
        "test_g07_of_several_changes",
    ),
    Mutant(
        "g07",
        "of a row some of whose records changed again, all are taken",
        _PARTIAL,
        "self._is_mixed |= any(stale) and not all(stale)",
        "pass",
        f"{ENGINE}/test_changes_mixed.py",
        "g07",
    ),
    Mutant(
        "g07",
        "a later notification narrows down an earlier one",
        "server/src/schoolgate_server/sync/notifications.py",
        "is_whole = not keys or before == []",
        "is_whole = not keys",
        "tests/unit/server/sync",
        "test_g07_the_order",
    ),
    Mutant(
        "g08",
        "single rows are read under another scope",
        _CHANGES,
        "if not state.evidence.scope_unchanged:",
        "if False:",
        ENGINE,
        "test_g08_under_another_scope_a_notification",
    ),
    Mutant(
        "g10",
        "the position is stored before what leads up to it",
        _CHANGES,
        "    outcome = await reading.finish(changes.deleted)\n",
        "    await store_checkpoint(context, dataset.name, changes.cursor)\n"
        "    outcome = await reading.finish(changes.deleted)\n",
        ENGINE,
        "test_g10_a_crash_before",
    ),
    Mutant(
        "g10",
        "a window brings a position for changes outside of it",
        _DATASET,
        "is_whole and outcome.state ==",
        "outcome.state ==",
        ENGINE,
        "test_a_window_leaves_the_position",
    ),
    Mutant(
        "g15",
        "a position is stored without the lease",
        "server/src/schoolgate_server/store/checkpoints.py",
        '{"_id": lease.school_id, "lease.epoch": lease.epoch}',
        '{"_id": lease.school_id}',
        "tests/contract/store/test_notices.py",
        "test_g15",
    ),
    Mutant(
        "g15",
        "a chunk passes no fence",
        _FENCES,
        "await self._fences.within(session).update_one(open_fence, update, upsert=True)",
        "pass",
        _LATE,
        "where_mongodb_ends_no_sessions",
    ),
    Mutant(
        "g15",
        "a chunk passes no fence, and the commit of a dead owner comes late",
        _FENCES,
        "await self._fences.within(session).update_one(open_fence, update, upsert=True)",
        "pass",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g15",
        "a fence that is shut lets through",
        _FENCES,
        '"_id": _fence_id(school_id, slot), "closed": {"$lt": seq}',
        '"_id": _fence_id(school_id, slot)',
        _LATE,
        "touch or is_shut",
    ),
    Mutant(
        "g15",
        "nobody shuts the fences",
        _FENCES,
        '"$max": {"closed": seq}',
        '"$max": {"closed": 0}',
        _LATE,
        "touch",
    ),
    Mutant(
        "g15",
        "the seq of an undone commit is used again",
        "server/src/schoolgate_server/store/commits.py",
        'attempt.seq = head["announced"] + 1',
        'attempt.seq = head["published"] + 1',
        _LATE,
        "never_used_again",
    ),
    Mutant(
        "g15",
        "a save that comes late replaces a newer one",
        "server/src/schoolgate_server/store/runs.py",
        '"saved": {"$lt": number}',
        '"saved": {"$lt": number + 2}',
        "tests/contract/store/test_runs.py",
        "g15",
    ),
    Mutant(
        "g15",
        "a stalled owner prunes its successor's rows",
        "server/src/schoolgate_server/store/raw_pages.py",
        '            "epoch": {"$not": {"$gt": lease.epoch}},\n',
        "",
        "tests/contract/store/test_side_tables.py",
        "takes_no_rows",
    ),
    Mutant(
        "g15",
        "a late writing replaces a later owner's",
        "server/src/schoolgate_server/store/raw_pages.py",
        '"school": school_id, "epoch": {"$not": {"$gt": epoch}}}',
        '"school": school_id}',
        "tests/contract/store/test_side_tables.py",
        "takes_no_rows",
    ),
    Mutant(
        "g15",
        "pieces of two writings make one page",
        "server/src/schoolgate_server/store/raw_pages.py",
        'len({piece["writing"] for piece in pieces}) == 1',
        "True",
        "tests/contract/store/test_side_tables.py",
        "never_mix",
    ),
    Mutant(
        "g15",
        "rows that an earlier owner may prune are not kept again",
        "server/src/schoolgate_server/sync/retention.py",
        "if not (is_sealed and await",
        "if not (await",
        f"{ENGINE}/test_stalled_pruning.py",
        "g15",
    ),
    Mutant(
        "g14",
        "a write need not reach a majority",
        "server/src/schoolgate_server/store/handles.py",
        'MAJORITY = WriteConcern(w="majority")',
        "MAJORITY = WriteConcern(w=1)",
        "tests/replicaset",
        "killed",
    ),
    Mutant(
        "g15",
        "rows are pruned by whoever believes to own the school",
        "server/src/schoolgate_server/sync/dataset.py",
        "        if state.state != pb.DATASET_STATE_SKIPPED:\n            await self._context.save()\n",
        "        await self._prune(last)\n        await self._context.save()\n",
        "tests/integration/processes",
        "g15",
    ),
    Mutant(
        "g01",
        "Wonde's last page is believed at the first look",
        f"{_WONDE}/reader.py",
        "if _digest(again) != digest:",
        "if False:",
        _AT_WONDE,
        "g01",
    ),
    Mutant(
        "g01",
        "a short page of Wonde's is a page like any other",
        f"{_WONDE}/reader.py",
        "if page.more and len(page.rows) < page.per_page:",
        "if False:",
        _AT_WONDE,
        "g01",
    ),
    Mutant(
        "g02",
        "Wonde's wrong region is a school without anybody",
        f"{_WONDE}/reader.py",
        "        if not at.rows:\n            await self._check_region(dataset)\n",
        "",
        _AT_WONDE,
        "g02",
    ),
    Mutant(
        "g09",
        "people without a upi are left out",
        f"{_WONDE}/parsers/people.py",
        "    key = reader.set_key(keys.STUDENT, reader.key_id())\n",
        "    key = reader.set_key(keys.STUDENT, reader.key_id())\n"
        '    if not str(row.get("upi") or "").strip():\n        return ()\n',
        "tests/unit/wonde",
        "g09",
    ),
    Mutant(
        "g11",
        "what Wonde does not show yet did not happen",
        f"{_WONDE}/writing.py",
        "if began is None or self._now() - began < settles:",
        "if False:",
        _AT_WONDE,
        "g11",
    ),
    Mutant(
        "g16",
        "Wonde's texts about refused fields are quoted",
        f"{_WONDE}/client.py",
        "            raise FieldErrors(resource, _names(found))\n",
        '            raise Unsupported(bytes(request.body or b"").decode(), entity=resource)\n',
        _AT_WONDE,
        "g16",
    ),
    Mutant(
        "g01",
        "an answer over SOAP ends where its bytes do",
        f"{_BROMCOM}/soap_client.py",
        "                    self._answer.close()\n",
        "",
        "tests/contract/bromcom/test_soap_reading.py",
        "g01",
    ),
    Mutant(
        "g01",
        "half a snapshot from each of Bromcom's surfaces makes a whole",
        f"{_BROMCOM}/session.py",
        "                if has_begun:\n                    raise\n",
        "",
        "tests/contract/bromcom/test_surfaces.py",
        "g01",
    ),
    Mutant(
        "g18",
        "an answer over SOAP may have a document type",
        f"{_BROMCOM}/soap_xml.py",
        "    parser.StartDoctypeDeclHandler = _refuse\n",
        "",
        "tests/unit/bromcom/test_soap_xml.py",
        "g18",
    ),
)


def survives(mutant: Mutant) -> str | None:
    """Return why ``mutant`` is not caught, or ``None`` where a test fails as it should."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for source in SOURCES:
            shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / mutant.file
        text = target.read_text()
        if text.count(mutant.old) != 1:
            return f"its text stands {text.count(mutant.old)} times in {mutant.file}"
        target.write_text(text.replace(mutant.old, mutant.new))
        path = os.pathsep.join(str(copy / source) for source in SOURCES)
        command = [sys.executable, "-m", "pytest", mutant.tests, "-k", mutant.expression]
        command += ["-q", "-x", "-p", "no:cacheprovider", "--timeout", "60", "--no-header"]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False
        )
        if done.returncode == 1:
            return None
        return "its tests pass" if done.returncode == 0 else f"pytest ended with {done.returncode}"


def main(wanted: list[str]) -> int:
    """Try the mutants of the guarantees in ``wanted``, or all; return an exit status."""
    survivors = 0
    for mutant in MUTANTS:
        if wanted and mutant.guarantee not in wanted:
            continue
        why = survives(mutant)
        survivors += why is not None
        verdict = "caught" if why is None else f"SURVIVES ({why})"
        print(f"{mutant.guarantee}  {verdict:9} {mutant.what}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
