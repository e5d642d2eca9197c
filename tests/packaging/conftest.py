"""What the tests of this folder share: distributions built once, environments with nothing else in them."""

from __future__ import annotations

import os
import sys

import pytest

from tests.packaging.installing import ROOT, Uv, Workshop, find_uv


@pytest.fixture(scope="session")
def uv() -> Uv:
    program = find_uv()
    if program is None:
        pytest.skip("no uv: neither in .tools/uv, where any `make` target puts it, nor on PATH")
    return Uv(program)


@pytest.fixture(scope="session")
def workshop(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    if not (ROOT / "uv.lock").exists():
        pytest.skip("not in a clone: no uv.lock")
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of this run, but of all its workers
    return Workshop(base / "packaging", uv, sys.executable)
