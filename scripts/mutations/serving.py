"""What of writes leaves the server, and which decisions of people count."""

from __future__ import annotations

from scripts.mutations.base import Mutant

SERVICER = "server/src/schoolgate_server/rpc/writeback.py"
DECIDED = "server/src/schoolgate_server/rpc/write_decisions.py"
SERVED = "tests/integration/rpc/test_writeback.py"

INTERRUPTED = "tests/integration/writeback/test_interrupted.py"

MUTANTS = (
    Mutant(
        "g11",
        "an interrupted decision is taken again whatever became of it",
        DECIDED,
        "None if is_first else await matter.standing(kept)",
        "None",
        INTERRUPTED,
        "(g11_what_was_settled or g19_an_interrupted) and mongomock",
    ),
    Mutant(
        "g11",
        "what was refused is answered by what another did since",
        DECIDED,
        "                    if is_first:\n",
        "                    if not request_id:\n",
        INTERRUPTED,
        "what_was_refused and mongomock",
    ),
    Mutant(
        "g19",
        "requests of two methods pass for one another",
        "server/src/schoolgate_server/rpc/digests.py",
        "hashlib.sha256(named + request",
        "hashlib.sha256(request",
        "tests/unit/server/rpc/test_digests.py",
        "same_bytes",
    ),
    Mutant(
        "g16",
        "the audit shows what was written of a pupil",
        DECIDED,
        "        if sealed:\n            result = await",
        "        if False:\n            result = await",
        SERVED,
        "g16",
    ),
    Mutant(
        "g19",
        "the kill switch needs the vault",
        SERVICER,
        "sealed=False",
        "sealed=True",
        SERVED,
        "g19",
    ),
    Mutant(
        "g18",
        "a page of writes is larger than clients take",
        SERVICER,
        "if size > MOST_BYTES and response.writes:",
        "if False:",
        SERVED,
        "g18",
    ),
    Mutant(
        "g17",
        "whoever watches writes or a run goes on without a token",
        "server/src/schoolgate_server/rpc/following.py",
        "        while True:\n            admit_again()",
        "        while True:",
        "tests/integration/rpc/test_writeback_callers.py",
        "revoked",
    ),
)
