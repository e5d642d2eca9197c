"""What of writes leaves the server, and which decisions of people count."""

from __future__ import annotations

from scripts.mutations.base import Mutant

SERVICER = "server/src/schoolgate_server/rpc/writeback.py"
DECIDED = "server/src/schoolgate_server/rpc/write_decisions.py"
SERVED = "tests/integration/rpc/test_writeback.py"

MUTANTS = (
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
        "whoever watches writes goes on without a token",
        SERVICER,
        "            while True:\n                admit_again()",
        "            while True:",
        "tests/integration/rpc/test_writeback_callers.py",
        "revoked",
    ),
)
