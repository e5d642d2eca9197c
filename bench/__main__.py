"""Runs the benchmarks, prints a table, writes the results and, for whole runs, docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench import growth, peer, plots, progress, queries, report, results, stage, syncs, watching, writing
from bench.sizes import FULL, QUICK, Sizes

_ROOT = Path(__file__).parents[1]
_QUICK_RESULTS = Path(__file__).with_name("results-quick.json")


async def _measure_one_school(sizes: Sizes) -> list[results.Figure]:
    async with stage.served() as service:
        with stage.simulated(service, sizes.pupils) as running:
            with peer.started(running) as dlt:
                figures, school = await asyncio.to_thread(syncs.measure, running, dlt, sizes.runs)
            figures.append(await asyncio.to_thread(queries.measure_streams, running, school, sizes.runs))
            figures.append(await queries.measure_points(running, school, sizes.runs, sizes.points))
            figures.append(await watching.measure(running, sizes.runs, sizes.commits))
            figures.append(await writing.measure(running, school, sizes.runs, sizes.writes))
            return figures


async def _measure_growth(sizes: Sizes) -> list[results.Figure]:
    async with stage.served() as service:
        return await asyncio.to_thread(growth.measure, service, sizes, sizes.runs)


_PARTS = {"school": _measure_one_school, "growth": _measure_growth}


async def _measure(sizes: Sizes, part: str | None) -> list[results.Figure]:
    figures: list[results.Figure] = []
    for name, measure in _PARTS.items():
        if part in {None, name}:
            figures += await measure(sizes)
    return figures


def main() -> int:
    """Run the benchmarks that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure schoolgate's main paths.")
    parser.add_argument("--quick", action="store_true", help="small sizes, under two minutes")
    parser.add_argument(
        "--part", choices=[*_PARTS], help="only one school's rows, or only growth; written nowhere"
    )
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    began = time.perf_counter()
    figures = asyncio.run(_measure(sizes, given.part))
    results.show(figures)
    took = f"{time.perf_counter() - began:.0f} s"
    if given.part is not None:
        print(f"\n{took}")
        return 0
    path = _QUICK_RESULTS if given.quick else _ROOT / report.RESULTS
    results.write(path, figures, results.machine(), {"quick": given.quick, **asdict(sizes)})
    if not given.quick:
        progress.say("drawing the plots")
        plots.draw(_ROOT)
        report.update(_ROOT)
    print(f"\n{took}; written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
