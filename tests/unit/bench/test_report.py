"""docs/performance.md: what the benchmarks write into it, and that it is what they measured last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import report, results

ROOT = Path(__file__).parents[3]
ROWS = {
    "first_load_vs_insert",
    "resync_unchanged_vs_decode",
    "resync_unchanged_rate",
    "resync_1pct_changed_vs_unchanged",
    "query_vs_cursor",
    "query_point_p99_vs_find_one",
    "watch_lag_p99",
    "write_accept_p99_vs_insert",
    "memory_per_run",
    "growth",
    "first_load_vs_dlt_scd2",
    "resync_unchanged_vs_dlt_scd2",
}

pytestmark = pytest.mark.skipif(not (ROOT / report.DOCUMENT).exists(), reason="not in a clone")


def document() -> str:
    return (ROOT / report.DOCUMENT).read_text()


def test_every_row_has_a_result() -> None:
    figures, _, _ = results.read(ROOT / report.RESULTS)
    assert {figure.name for figure in figures} == ROWS


def test_every_row_is_explained() -> None:
    _, _, explained = document().partition("## What each row measures")
    assert set(re.findall(r"^\| `(\w+)` \|", explained, re.MULTILINE)) == ROWS


def test_the_document_has_the_committed_results() -> None:
    assert report.renewed(document(), ROOT / report.RESULTS) == document()


def test_the_plots_are_of_the_committed_results() -> None:
    drawn = sorted((ROOT / report.PLOTS).glob("*.svg"))
    assert [path.name for path in drawn] == ["goals.svg", "sides.svg"]
    for path in drawn:
        assert report.fingerprint(ROOT / report.RESULTS) in path.read_text()
        assert f"performance/{path.name}" in document()


def test_other_results_change_the_generated_parts_alone(tmp_path: Path) -> None:
    _, machine, sizes = results.read(ROOT / report.RESULTS)
    path = tmp_path / "results.json"
    figures = [results.absolute("other_row", [123456], unit="ms", goal=100, better="lower")]
    results.write(path, figures, {**machine, "cores": 128}, sizes)
    by_hand = "What a person found."
    text = document().replace("<!-- findings: begin -->", f"<!-- findings: begin -->\n{by_hand}")
    renewed = report.renewed(text, path)
    assert "| `other_row` | 123,456 ms | ≤ 100.00 | **missed by 123356%** | 123,456 |  | ms |" in renewed
    assert "128 cores" in renewed
    assert by_hand in renewed
    assert "`first_load_vs_insert` | a first load" in renewed


def test_a_document_without_its_markers_is_refused() -> None:
    with pytest.raises(LookupError, match="machine"):
        report.renewed("# How fast it is\n", ROOT / report.RESULTS)


@pytest.mark.parametrize(
    ("value", "better", "verdict"),
    [
        (1.0, "higher", "reached"),
        (0.5, "higher", "**missed by 50%**"),
        (0.99, "lower", "reached"),
        (1.25, "lower", "**missed by 25%**"),
    ],
)
def test_a_verdict_says_by_how_much(value: float, better: str, verdict: str) -> None:
    lower = results.absolute("x", [value], unit="s", goal=1, better="lower")
    higher = results.absolute("x", [value], unit="s", goal=1)
    assert report.verdict(lower if better == "lower" else higher) == verdict


def test_small_sizes_are_called_a_smoke_test(tmp_path: Path) -> None:
    _, machine, sizes = results.read(ROOT / report.RESULTS)
    assert "smoke test" in report.describe(machine, {**sizes, "quick": 1})
    assert "smoke test" not in report.describe(machine, {**sizes, "quick": 0})
