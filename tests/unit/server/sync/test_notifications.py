"""How notifications that wait are put together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.sync import notifications
from schoolgate_server.sync.notifications import merged
from tests.support.scripted import GROUPS, MARKS, STUDENTS, ScriptedMis, scripted_connector

CONNECTOR = scripted_connector(ScriptedMis())


def together(*notices: tuple[str, Sequence[str]]) -> RunEntry:
    entry = RunEntry(pb.Run())
    for dataset, keys in notices:
        entry = merged(entry, CONNECTOR, CONNECTOR.dataset(dataset), keys)
    return entry


def test_g07_the_order_in_which_they_come_makes_no_difference() -> None:
    """Seen to fail where a later key narrowed a whole dataset down again."""
    notices: list[tuple[str, list[str]]] = [
        (MARKS, ["m"]),
        (STUDENTS, ["b"]),
        (STUDENTS, ["a", "b"]),
        (GROUPS, ["g"]),
        (GROUPS, []),
    ]
    found = [together(*order) for order in itertools.permutations(notices)]
    assert all(each == found[0] for each in found)
    assert found[0].targets == {STUDENTS: ["a", "b"], GROUPS: [], MARKS: ["m"]}
    assert list(found[0].targets) == [part.dataset for part in found[0].run.datasets]
    assert found[0].run.targets == 3
    assert {part.state for part in found[0].run.datasets} == {pb.DATASET_STATE_PENDING}


@pytest.mark.parametrize("bound", ["MOST_KEYS", "MOST_KEY_BYTES"])
def test_too_many_or_too_long_keys_become_the_whole_dataset(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, bound, 3)
    assert together((STUDENTS, ["a", "b", "c"])).targets == {STUDENTS: ["a", "b", "c"]}
    assert together((STUDENTS, ["a", "b", "c"]), (STUDENTS, ["d"])).targets == {STUDENTS: []}
    assert together((STUDENTS, list("abcd")), (STUDENTS, ["a"])).targets == {STUDENTS: []}
