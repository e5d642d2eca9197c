"""The kit as tests of pytest, which is imported only where an author asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schoolgate_sdk.connector import Connector
from schoolgate_sdk.testing.conformance import kit, loading
from schoolgate_sdk.testing.conformance.bench import Bench
from schoolgate_sdk.testing.conformance.kept import kept_certificate
from schoolgate_sdk.testing.conformance.outcome import Check, Outcome


def conformance_tests(connector: str | Connector, certificate: Path | None = None) -> Callable[..., None]:
    """Return a test function of pytest, with a case for every check.

    ``connector`` is the name of one that is installed, or the description of one. What is waived or not
    applicable is skipped, with its reason. ``certificate`` is a file that is kept beside the connector: a
    case fails where it says otherwise of the check, or is of another kit or connector.

    Raises:
        NoSuchConnector: there is none of that name, or it cannot be loaded.
        ValueError: the connector has no conformance target.
    """
    import pytest

    found = loading.load(connector) if isinstance(connector, str) else connector
    benches = kit.benches(found)
    ids = [(bench.target.surface, check.id) for bench in benches for check in kit.CHECKS]
    kept = kept_certificate(certificate, found, ids) if certificate is not None else None
    cases = [
        pytest.param(bench, check, id=f"{bench.target.surface}:{check.id}".lstrip(":"))
        for bench in benches
        for check in kit.CHECKS
    ]

    @pytest.mark.parametrize(("bench", "check"), cases)
    def test_conformance(bench: Bench, check: Check) -> None:
        result = kit.run_check(bench, check)
        if result.outcome is Outcome.FAILED:
            pytest.fail(f"{result.says}\n{result.detail}\nNext: {result.next_step}", pytrace=False)
        problem = kept.problem_with(bench.target.surface, result) if kept is not None else ""
        if problem:
            pytest.fail(problem, pytrace=False)
        if result.outcome is not Outcome.PROVEN:
            pytest.skip(f"{result.outcome.value}: {result.detail}")

    return test_conformance
