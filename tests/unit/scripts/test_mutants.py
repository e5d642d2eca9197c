"""When a mutant counts as caught: as pytest reports of runs that end in every way."""

from __future__ import annotations

import pytest

from scripts.mutants import verdict_of

PASSED = "<testcase name='a'/>"
FAILED = "<testcase name='b'><failure message='assert 1 == 2'>E  assert 1 == 2</failure></testcase>"
SKIPPED = "<testcase name='c'><skipped message='no mongod'/></testcase>"
OUT_OF_TIME = (
    "<testcase name='d'><failure message='Failed: Timeout (&gt;60.0s) from pytest-timeout.'/></testcase>"
)
BROKEN_AFTER_IT = (
    "<testcase name='e'><failure message='RuntimeError: closed'>"
    "E  Failed: Timeout (&gt;60.0s) from pytest-timeout.\nE  RuntimeError: closed</failure></testcase>"
)
NOT_SET_UP = (
    "<testcase name='f'><error message='failed on setup with &quot;no port&quot;&#10;more'/></testcase>"
)
INTERNAL = "<testcase name='pytest'><error message='internal error'/></testcase>"


def report(*cases: str) -> str:
    return f"<testsuites><testsuite name='pytest'>{''.join(cases)}</testsuite></testsuites>"


@pytest.mark.parametrize(
    ("reported", "exit_status", "why"),
    [
        (report(PASSED, FAILED), 1, ""),
        (report(FAILED, INTERNAL), 3, ""),
        (report(FAILED), -11, ""),
        (report(PASSED), 0, "its tests pass"),
        (report(PASSED, SKIPPED), 0, "its tests pass"),
        (report(SKIPPED, SKIPPED), 0, "its tests are skipped"),
        (report(PASSED, OUT_OF_TIME), 1, "its test runs out of time"),
        (report(BROKEN_AFTER_IT), 1, "its test runs out of time"),
        (report(PASSED, NOT_SET_UP), 1, 'none failed by itself: failed on setup with "no port"'),
        (report(INTERNAL), 3, "none failed by itself: internal error"),
        (report(), 5, "pytest ended with 5"),
        (report(PASSED), 2, "pytest ended with 2"),
        ("", -9, "pytest ended with -9 and left no report"),
        (report(FAILED)[:-9], 1, "pytest ended with 1 and left no report"),
    ],
)
def test_a_mutant_is_caught_where_a_test_failed_by_itself(reported: str, exit_status: int, why: str) -> None:
    assert verdict_of(reported, exit_status) == why
