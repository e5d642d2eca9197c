"""What a follower of the change feed is told."""

from __future__ import annotations

from scripts.mutations.base import SIMULATION, Mutant

FEED = "server/src/schoolgate_server/store/feed.py"
WATCH = "server/src/schoolgate_server/rpc/watch.py"
TOLD = "tests/contract/store/test_feed.py"
FOLLOWED = "tests/integration/rpc/test_watch.py"
EXPANSION = "server/src/schoolgate_server/rpc/expansion.py"
DIRECTIONS = "tests/integration/rpc/test_expansion_directions.py"

MUTANTS = (
    Mutant(
        "g13",
        "what a commit in the making covers up is not told",
        FEED,
        'found.setdefault(document["id"], document)',
        "pass",
        TOLD,
        "g12",
    ),
    Mutant(
        "g12",
        "a commit in the making shows",
        FEED,
        "found = await self._states(school_id, kinds, position, published, limit + 1)",
        "found = await self._states(school_id, kinds, position, 1 << 40, limit + 1)",
        TOLD,
        "g12",
    ),
    Mutant(
        "g13",
        "a position is of a seq as a whole",
        FEED,
        "    if not position.after_id:",
        "    if True:",
        TOLD,
        "order",
    ),
    Mutant(
        "g13",
        "a page that is full counts as the last one",
        FEED,
        "is_last = len(found) <= limit",
        "is_last = True",
        FOLLOWED,
        "g13",
    ),
    Mutant(
        "g13",
        "what leaves while a snapshot is read is not told",
        FEED,
        '[{"live": True}, {"seq": {"$gt": position.snapshot}}]',
        '[{"live": True}]',
        TOLD,
        "g13 or snapshot",
    ),
    Mutant(
        "g13",
        "a backup that was restored goes unnoticed once its seq has been passed",
        FEED,
        "if position.as_of_ms and",
        "if False and",
        TOLD,
        "restored",
    ),
    Mutant(
        "g13",
        "a cursor goes on before its page is whole",
        FEED,
        "else position.passed(changes[-1].record, published, at_ms)",
        "else Position.complete(published, at_ms)",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g13",
        "nobody is told who left",
        FEED,
        'matching: Document = {"school": school_id}\n        if names:',
        'matching: Document = {"school": school_id, "live": True}\n        if names:',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g13",
        "a follower keeps those who left",
        "client/src/schoolgate_client/tables.py",
        "                self.records.pop(change.record.id, None)\n",
        "                pass\n",
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g08",
        "what another reading changed is told as the school's edit",
        "server/src/schoolgate_server/store/documents.py",
        "at, run_id, change.cause)",
        'at, run_id, ChangeCause.Value("CHANGE_CAUSE_SOURCE"))',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g17",
        "a follower is looked at once",
        WATCH,
        "                admit_again()\n",
        "",
        FOLLOWED,
        "revoked",
    ),
    Mutant(
        "g18",
        "pages are read before they are taken",
        WATCH,
        "                    for response in _responses(page, position, cursors):\n"
        "                        yield response\n",
        '                    waiting = [*locals().get("waiting", ()), *_responses(page, position, cursors)]\n'
        "                    while page.is_last and waiting:\n"
        "                        yield waiting.pop(0)\n",
        FOLLOWED,
        "slow",
    ),
    Mutant(
        "g12",
        "what refers to a merged pupil's old id is not related",
        EXPANSION,
        "sorted(await self._store.redirects.same(self._school_id, wanted, self._seq))",
        "sorted(wanted)",
        DIRECTIONS,
        "merged",
    ),
    Mutant(
        "g12",
        "related records are of the present",
        EXPANSION,
        "self._school_id, step.info.kind, question, self._seq, MOST_RELATED + 1",
        "self._school_id, step.info.kind, question, 1 << 62, MOST_RELATED + 1",
        DIRECTIONS,
        "as_known_then",
    ),
)
