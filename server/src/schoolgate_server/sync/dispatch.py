"""The operations that this server knows, by the type that their data name."""

from __future__ import annotations

from collections.abc import Mapping

from schoolgate_server.sync.merging import merge
from schoolgate_server.sync.mis_change import apply
from schoolgate_server.sync.mis_plan import plan
from schoolgate_server.sync.operations import Operation

OPERATIONS: Mapping[str, Operation] = {
    "merge": merge,
    "plan_mis_change": plan,
    "apply_mis_change": apply,
}
