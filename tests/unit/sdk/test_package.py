"""What the SDK exports exists, is documented, and needs nothing but its base installation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass

import pytest

import schoolgate_sdk
from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate_sdk import RowRejected, source_key


def test_exports_are_sorted_as_a_reader_looks_them_up() -> None:
    exported = list(schoolgate_sdk.__all__)
    assert len(exported) == len(set(exported))
    assert all(hasattr(schoolgate_sdk, name) for name in exported)


@pytest.mark.parametrize(
    "name", [name for name in schoolgate_sdk.__all__ if isinstance(getattr(schoolgate_sdk, name), type)]
)
def test_every_exported_class_is_documented(name: str) -> None:
    documented = getattr(schoolgate_sdk, name).__doc__ or ""
    generated = f"{name}(" if is_dataclass(getattr(schoolgate_sdk, name)) else "\0"
    assert documented
    assert not documented.startswith(generated)


def test_the_sdk_and_its_world_need_no_web_framework_and_no_test_runner() -> None:
    code = "import sys, schoolgate_sdk.testing.world; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "schoolgate_sdk.testing.world" in loaded
    assert not loaded & {"aiohttp", "grpc", "loguru", "pymongo", "pytest"}


def test_a_rejected_row_says_why_and_where() -> None:
    key = source_key("fake/student", 1)
    reason = diagnostics.DecisionReason.values()[1]
    rejected = RowRejected(reason, "upn", "has the wrong check letter", key)
    assert (rejected.reason, rejected.field, rejected.detail, rejected.key) == (
        reason,
        "upn",
        "has the wrong check letter",
        key,
    )
    assert str(rejected) == "upn: has the wrong check letter"
