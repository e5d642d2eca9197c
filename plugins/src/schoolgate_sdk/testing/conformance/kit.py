"""The checks together, and running them."""

from __future__ import annotations

import asyncio
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from schoolgate_sdk.connector import Connector
from schoolgate_sdk.testing.conformance.bench import Bench
from schoolgate_sdk.testing.conformance.checks import (
    arriving,
    changing,
    describing,
    pacing,
    parsing,
    permission,
    reading,
    wire,
    writing,
)
from schoolgate_sdk.testing.conformance.hanging import broken_off
from schoolgate_sdk.testing.conformance.outcome import (
    Check,
    CheckFailed,
    NotApplicable,
    Outcome,
    Result,
    Waived,
)
from schoolgate_sdk.testing.conformance.target import ConformanceTarget

_STDLIB: Final = sysconfig.get_path("stdlib")

_LONGEST_CHECK: Final = 300.0
"""Seconds; a check that takes longer hangs."""
_GRACE: Final = 10.0
"""Seconds more for one that does not even let its time run out."""

_SHORTEST_SECRET: Final = 6
"""Characters; what is shorter would be taken out of words."""

CHECKS: Final[tuple[Check, ...]] = (
    *describing.CHECKS,
    *arriving.CHECKS,
    *parsing.CHECKS,
    *reading.CHECKS,
    *changing.CHECKS,
    *permission.CHECKS,
    *wire.CHECKS,
    *pacing.CHECKS,
    *writing.CHECKS,
)
"""Every check, in the order in which they are run."""


def check_named(check: str) -> Check:
    """Return a check by its id; raises ``KeyError`` where there is none."""
    return {each.id: each for each in CHECKS}[check]


def benches(connector: Connector) -> tuple[Bench, ...]:
    """Return a bench for each way in which the connector reaches its MIS.

    Raises:
        ValueError: the connector has no conformance target, the text says how to give it one; or it cannot
            be made.
    """
    if connector.conformance is None:
        raise ValueError(
            f"the connector {connector.name} has no conformance target; give it one: "
            "Connector(…, conformance=conformance), as docs/connector-guide.md says"
        )
    try:
        target: object = connector.conformance()
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"the conformance target of the connector {connector.name} cannot be made: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(target, ConformanceTarget):  # pyright: ignore[reportUnnecessaryIsInstance]
        said = f"what conformance= of the connector {connector.name} returns is no ConformanceTarget"
        raise ValueError(said)  # noqa: TRY004 - as of every other target that is none
    ids = frozenset(check.id for check in CHECKS)
    return tuple(Bench(connector, each, check_ids=ids) for each in target.surfaces)


def run_check(bench: Bench, check: Check) -> Result:
    """Run one check to its result, in an event loop of its own.

    Whatever else is raised, by the simulator, say, is a failure with its type and text. A check that is
    waived is run all the same: where it holds, or has nothing to look at, nothing needs the waiver.
    """
    result = _run(bench, check)
    detail, next_step = (_clean(text, bench.secrets) for text in (result.detail, result.next_step))
    result = replace(result, detail=detail, next_step=next_step)
    waiver = bench.expectation.of_check(check.id)
    if waiver is None:
        return result
    why = {Outcome.PROVEN: "yet it holds", Outcome.NOT_APPLICABLE: "there is nothing to waive"}
    if result.outcome in why:
        problem = f"the check is waived ({waiver.reason!r}), and {why[result.outcome]}: {result.detail}"
        return Result(check.id, check.says, Outcome.FAILED, problem, "remove the waiver")
    return Result(check.id, check.says, Outcome.WAIVED, waiver.reason)


def _run(bench: Bench, check: Check) -> Result:
    async def limited() -> str:
        async with asyncio.timeout(_LONGEST_CHECK):
            return await check.run(bench)

    try:
        with broken_off(_LONGEST_CHECK + _GRACE):
            detail = asyncio.run(limited())
    except CheckFailed as failed:
        return Result(check.id, check.says, Outcome.FAILED, failed.problem, failed.next_step)
    except NotApplicable as why:
        return Result(check.id, check.says, Outcome.NOT_APPLICABLE, str(why))
    except Waived as reason:
        return Result(check.id, check.says, Outcome.WAIVED, str(reason))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the author is told, be it SystemExit: it is no success
        problem = _clean(f"{type(error).__name__}: {error}", bench.secrets)  # before it is cut short
        return Result(check.id, check.says, Outcome.FAILED, problem[:500], _where(error))
    return Result(check.id, check.says, Outcome.PROVEN, detail)


def _clean(text: str, secrets: Iterable[str]) -> str:
    """Return a text for a certificate, which is passed on: what failed may have quoted a credential."""
    # The longest first: one that begins another would leave the other's rest.
    for secret in sorted((each for each in secrets if len(each) >= _SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def _where(error: BaseException) -> str:
    """Return the place in the author's code where an error came from, as far as that can be told."""
    place = error.__traceback__
    found = ""
    while place is not None:
        code = place.tb_frame.f_code
        if "schoolgate_sdk" not in code.co_filename and not code.co_filename.startswith(_STDLIB):
            found = f"{code.co_filename}:{place.tb_lineno} in {code.co_name}"
        place = place.tb_next
    return (
        f"look at {found}"
        if found
        else "look at the simulator and the session: nothing of this kind is expected"
    )


def run_all(bench: Bench, checks: tuple[Check, ...] = CHECKS) -> Iterator[Result]:
    """Run checks one after another, and yield each result as it comes."""
    for check in checks:
        yield run_check(bench, check)
