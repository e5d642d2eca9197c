"""What keeps a write from taking effect twice, and from leaving once it was stopped."""

from __future__ import annotations

from scripts.mutations.base import Mutant

WRITEBACK = "server/src/schoolgate_server/writeback"
HISTORIES = "tests/simulation/writing"

MUTANTS = (
    Mutant(
        "g19",
        "nobody looks once more whether a write may leave",
        f"{WRITEBACK}/gate.py",
        "        if stop is not None:\n",
        "        if stop is None and stop is not None:\n",
        HISTORIES,
        "g11_g19",
    ),
    Mutant(
        "g11",
        "what the MIS does not show yet counts as gone at once",
        f"{WRITEBACK}/settling.py",
        "elif asked_at < settles_at:",
        "elif asked_at < asked_at:",
        HISTORIES,
        "g11_g19",
    ),
    Mutant(
        "g11",
        "what cannot be asked for is sent again",
        f"{WRITEBACK}/transitions.py",
        'need_attention(entry, advice.undecided("the MIS cannot be asked"), now)',
        "absent(entry, now)",
        HISTORIES,
        "g11_g19",
    ),
    Mutant(
        "g11",
        "a write leaves although its intent was not stored",
        f"{WRITEBACK}/sending.py",
        "            if isinstance(error, StoreUnavailable):\n                return None\n",
        "            if isinstance(error, StoreUnavailable):\n                return correlation_id\n",
        HISTORIES,
        "g11_g19",
    ),
    Mutant(
        "g11",
        "an attempt whose server died counts as not sent",
        f"{WRITEBACK}/transitions.py",
        "    _doubt(entry, attempt.failure, safety, now, options)\n",
        "    absent(entry, now)\n",
        HISTORIES,
        "g11_g19",
    ),
    Mutant(
        "g11",
        "an error after a write has left counts as one before",
        f"{WRITEBACK}/outcomes.py",
        "not isinstance(error, ConnectorError):\n        return UNKNOWN\n",
        "not isinstance(error, ConnectorError):\n        return Verdict(_NOT_SENT, Then.AGAIN)\n",
        HISTORIES,
        "g11_g19",
    ),
    Mutant(
        "g11",
        "writes about one thing overtake each other",
        f"{WRITEBACK}/sending.py",
        "        if other is not None:\n            to.wait_for",
        "        if other is None and other is not None:\n            to.wait_for",
        HISTORIES,
        "g11_g19",
    ),
)
