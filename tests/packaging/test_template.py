"""A stranger's connector, from an empty folder to its certificate, with the SDK alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.installing import Workshop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_OURS = {"schoolgate-sdk", "schoolgate-proto"}


def test_a_package_from_the_template_is_certified_with_the_sdk_alone(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = tmp_path / "schoolgate-zeta"
    bare = workshop.environment("sdk", "schoolgate-sdk")
    bare.output("python", "-W", "error", "-m", "schoolgate_sdk.testing.new", "zeta", "--folder", str(folder))

    environment = workshop.environment("template", f"{folder}[test]")
    installed = {name for name in environment.distributions() if name.startswith("schoolgate")}
    assert installed == {*_OURS, "schoolgate-zeta"}

    tests = environment.run(
        *("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(folder / "pyproject.toml")),
        str(folder / "tests"),
        timeout=300,
    )
    assert tests.returncode == 0, tests.stdout[-4000:]
    assert " failed" not in tests.stdout

    certificate = tmp_path / "certificate.json"
    checked = environment.run(
        *("python", "-m", "schoolgate_sdk.testing.conformance", "zeta", "--out", str(certificate)),
        timeout=300,
    )
    assert checked.returncode == 0, checked.stdout[-4000:]
    written = json.loads(certificate.read_text())
    assert written["certified"]
    assert written["connector"]["name"] == "zeta"
    assert written["counts"]["failed"] == 0
    waived = [check for check in written["checks"] if check["outcome"] == "waived"]
    assert all(check["detail"] for check in waived), "each with its reason"
