"""Each check of the kit fails for a connector that is wrong in what it looks at."""

from __future__ import annotations

import pytest

from schoolgate_sdk.testing.conformance import kit
from schoolgate_sdk.testing.conformance.outcome import Outcome
from tests.conformance.toy_connector import toy_connector
from tests.conformance.wrong import Wrong, each_wrong

WRONG = list(each_wrong())


def test_there_is_a_wrong_connector_for_every_check() -> None:
    assert {check for check, _ in WRONG} == {check.id for check in kit.CHECKS}


@pytest.mark.parametrize(("check", "wrong"), WRONG, ids=[check for check, _ in WRONG])
def test_a_wrong_connector_is_found_out(check: str, wrong: Wrong) -> None:
    [bench] = kit.benches(wrong())
    result = kit.run_check(bench, kit.check_named(check))
    assert result.outcome is Outcome.FAILED, result.detail
    assert result.detail
    assert result.next_step
    assert "look at the simulator" not in result.next_step, "the check itself broke"


@pytest.mark.timeout(300)
def test_the_right_one_is_certified() -> None:
    [bench] = kit.benches(toy_connector())
    results = list(kit.run_all(bench))
    assert [(result.id, result.outcome) for result in results] == [
        (check.id, Outcome.PROVEN) for check in kit.CHECKS
    ]
