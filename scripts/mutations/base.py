"""What a mutation is, and the places that several are in."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One mechanism taken out: ``old`` in ``file`` becomes ``new``, and ``tests -k expression`` must fail."""

    guarantee: str
    what: str
    file: str
    old: str
    new: str
    tests: str
    expression: str


ENGINE = "tests/integration/engine"
SIMULATION = "tests/simulation"
ABSENCE = "server/src/schoolgate_server/reconcile/absence.py"
HOLDS = "server/src/schoolgate_server/reconcile/holds.py"
DIFF = "server/src/schoolgate_server/reconcile/diff.py"
ABSENCES = "server/src/schoolgate_server/sync/absences.py"
PIPELINE = "server/src/schoolgate_server/ingest/pipeline.py"
SNAPSHOT = "server/src/schoolgate_server/sync/snapshot.py"
MEMOS = "server/src/schoolgate_server/sync/memos.py"
MEMO_TESTS = "tests/integration/engine/test_memos.py"
DATASET = "server/src/schoolgate_server/sync/dataset.py"
REPROJECTION = "server/src/schoolgate_server/sync/reprojection.py"
READINGS = "server/src/schoolgate_server/store/readings.py"
FENCES = "server/src/schoolgate_server/store/fences.py"
LATE = "tests/contract/store/test_fences.py"
PARTIAL = "server/src/schoolgate_server/sync/partial.py"
CHANGES = "server/src/schoolgate_server/sync/changes.py"
REREAD = "test_reprojection"
WONDE = "connectors/wonde/src/schoolgate_wonde"
AT_WONDE = "tests/contract/wonde"
BROMCOM = "connectors/bromcom/src/schoolgate_bromcom"
