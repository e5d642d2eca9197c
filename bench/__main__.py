"""Runs the benchmarks, prints a table and writes ``bench/results.json``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench import queries, results, stage, syncs, watching, writing
from bench.sizes import FULL, QUICK, Sizes

_RESULTS = Path(__file__).parent / "results.json"


async def _measure(sizes: Sizes) -> list[results.Figure]:
    async with stage.raised(sizes.pupils) as running:
        figures, school = await asyncio.to_thread(syncs.measure, running, sizes.runs)
        figures.append(await asyncio.to_thread(queries.measure_streams, running, school, sizes.runs))
        figures.append(await queries.measure_points(running, school, sizes.runs, sizes.points))
        figures.append(await watching.measure(running, sizes.runs, sizes.commits))
        figures.append(await writing.measure(running, school, sizes.runs, sizes.writes))
        return figures


def main() -> int:
    """Run the benchmarks that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure schoolgate's main paths.")
    parser.add_argument("--quick", action="store_true", help="small sizes, under two minutes")
    sizes = QUICK if parser.parse_args().quick else FULL
    began = time.perf_counter()
    figures = asyncio.run(_measure(sizes))
    results.show(figures)
    results.write(_RESULTS, figures, {"quick": sizes is QUICK, **asdict(sizes)})
    print(f"\n{time.perf_counter() - began:.0f} s; written to {_RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
