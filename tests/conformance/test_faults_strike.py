"""A check whose fault was never made fails, whatever the connector does: it would show nothing.

So does one whose fault the simulator cannot make, unless its author says why.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from schoolgate_sdk import Connector
from schoolgate_sdk.testing.conformance import kit
from schoolgate_sdk.testing.conformance.outcome import Outcome, Result
from schoolgate_sdk.testing.conformance.target import FAULTS, Clock, Fault, SimulatedMis, Waiver, unchecked
from schoolgate_sdk.testing.world import World
from tests.conformance.toy_connector import TARGET, start, toy_connector

WITH_FAULTS = tuple(
    check.id
    for check in kit.CHECKS
    if check.id.startswith(("wire.", "grants.revoked"))
    or check.id in {"secrecy.texts", "pacing.pause", "pacing.shared"}
    or check.id.endswith((".lost_answer", ".no_effect"))
)
AT_ONCE = ("wire.expire_credentials", "wire.mark_change", "grants.revoked")
"""Their faults strike no request by themselves: what the connector then says shows whether they were made."""


def with_simulator(check: str, change: Callable[[SimulatedMis], SimulatedMis]) -> Result:
    @asynccontextmanager
    async def changed(world: World, now: Clock) -> AsyncGenerator[SimulatedMis]:
        async with start(world, now) as mis:
            yield change(mis)

    target = replace(TARGET, start=changed)
    [bench] = kit.benches(replace(toy_connector(), conformance=lambda: target))
    return kit.run_check(bench, kit.check_named(check))


def deaf(mis: SimulatedMis) -> SimulatedMis:
    """Let the simulator take every fault and make none."""

    def ignored(_fault: Fault) -> None:
        return None

    return replace(mis, fault=ignored)


@pytest.mark.parametrize("check", WITH_FAULTS)
def test_a_fault_that_is_never_made_fails_its_check(check: str) -> None:
    result = with_simulator(check, deaf)
    assert result.outcome is Outcome.FAILED, result.detail
    assert "look at the simulator" not in result.next_step, "the check itself broke"


@pytest.mark.parametrize("check", [check for check in WITH_FAULTS if check not in AT_ONCE])
def test_a_fault_that_nobody_can_see_strike_fails_its_check(check: str) -> None:
    result = with_simulator(check, lambda mis: replace(mis, struck=None))
    assert (result.outcome, result.detail) == (
        Outcome.FAILED,
        "SimulatedMis has no struck=, so nobody can see whether a fault strikes",
    )


def test_an_entity_that_is_withdrawn_before_the_first_page_is_not_withdrawn_during_the_read() -> None:
    """Seen to fail where the check took any denial for one of the third page."""

    def hasty(mis: SimulatedMis) -> SimulatedMis:
        make = mis.fault

        def earlier(fault: Fault) -> None:
            make(replace(fault, page=0))

        return replace(mis, fault=earlier)

    result = with_simulator("grants.revoked_mid_read", hasty)
    assert (result.outcome, "before any page had come" in result.detail) == (Outcome.FAILED, True)


NEEDED = {
    **{check.id: check.id.removeprefix("wire.") for check in kit.CHECKS if check.id.startswith("wire.")},
    "grants.revoked": "revoke",
    "grants.revoked_mid_read": "revoke",
    "pacing.pause": "rate_limit",
    "pacing.shared": "rate_limit",
    **{f"write.{operation.name}.no_effect": "error_before_effect" for operation in toy_connector().writes},
}
"""Checks, and the fault that each needs."""


def without_fault(kind: str, *waivers: Waiver) -> Connector:
    target = replace(TARGET, faults=frozenset(FAULTS) - {kind}, waivers=waivers)
    return replace(toy_connector(), conformance=lambda: target)


@pytest.mark.parametrize(("check", "kind"), NEEDED.items(), ids=NEEDED)
def test_a_fault_that_cannot_be_made_is_waived_with_a_reason_or_fails_its_check(
    check: str, kind: str
) -> None:
    [bench] = kit.benches(without_fault(kind))
    result = kit.run_check(bench, kit.check_named(check))
    assert (result.outcome, result.detail) == (Outcome.FAILED, f"the simulator cannot make the fault {kind}")
    assert "unchecked(" in result.next_step
    [bench] = kit.benches(without_fault(kind, unchecked(check, reason="It is never so.")))
    result = kit.run_check(bench, kit.check_named(check))
    assert (result.outcome, result.detail) == (Outcome.WAIVED, "It is never so.")
