"""The checks together, and running them."""

from __future__ import annotations

import asyncio

from schoolgate_sdk.testing.conformance.bench import Bench
from schoolgate_sdk.testing.conformance.checks import arriving, parsing, reading
from schoolgate_sdk.testing.conformance.outcome import (
    Check,
    CheckFailed,
    NotApplicable,
    Outcome,
    Result,
    Waived,
)

_LONGEST_CHECK = 300.0
"""Seconds; a check that takes longer hangs."""

CHECKS: tuple[Check, ...] = (*arriving.CHECKS, *parsing.CHECKS, *reading.CHECKS)


def run_check(bench: Bench, check: Check) -> Result:
    """Run one check to its result; it has an event loop of its own."""
    waiver = bench.expectation.of_check(check.id)
    if waiver is not None:
        return Result(check.id, check.says, Outcome.WAIVED, waiver.reason)

    async def limited() -> str:
        async with asyncio.timeout(_LONGEST_CHECK):
            return await check.run(bench)

    try:
        detail = asyncio.run(limited())
    except CheckFailed as failed:
        return Result(check.id, check.says, Outcome.FAILED, failed.problem, failed.next_step)
    except NotApplicable as why:
        return Result(check.id, check.says, Outcome.NOT_APPLICABLE, str(why))
    except Waived as reason:
        return Result(check.id, check.says, Outcome.WAIVED, str(reason))
    return Result(check.id, check.says, Outcome.PROVEN, detail)
