"""Shows where the server's time goes: ``python -m bench.profile first_load``, or ``unchanged``.

py-spy samples those threads of the server that work, while it syncs; nothing of it is changed, and it is
nearly as fast as ever. Watching another process needs root, or ``kernel.yama.ptrace_scope`` 0. The table is
of samples that found a function anywhere on the stack, and at its top, which includes native code that it
called; the whole can be written as collapsed stacks, one a line, which flame graphs are drawn from.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import progress, source
from bench.stage import Service, served, simulated

_RATE = 100
"""Samples a second."""

_SHOWN = 50

_LOOP = "Handle._run (asyncio/events.py)"
"""What the event loop runs its work in."""

Stacks = dict[tuple[str, ...], int]


@contextmanager
def _sampled(pid: int, path: Path) -> Generator[None]:
    sampler = str(Path(sys.executable).with_name("py-spy"))
    options = {
        "--pid": str(pid),
        "--format": "raw",
        "--output": str(path),
        "--rate": str(_RATE),
        "--duration": "unlimited",
    }
    command = [sampler, "record", *(word for option in options.items() for word in option)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)


def parse(lines: Iterable[str]) -> Stacks:
    """Return how many samples found each stack, the outermost function first, from collapsed stacks."""
    stacks: Stacks = Counter()
    for line in lines:
        frames, _, samples = line.rstrip().rpartition(" ")
        functions = tuple(_function(frame) for frame in frames.split(";"))
        # What the loop is called from is the same in every sample.
        work = functions[functions.index(_LOOP) + 1 :] if _LOOP in functions else functions
        stacks[work or functions] += int(samples)
    return stacks


def _function(frame: str) -> str:
    """Return the frame without its line number: samples of one function belong together."""
    name, _, place = frame.rpartition(" (")
    return f"{name} ({place.partition(':')[0].rstrip(')')})" if name else frame


def shares(stacks: Stacks) -> list[tuple[str, float, float]]:
    """Return each function with its parts of all samples: anywhere on the stack, and at its top."""
    within: Counter[str] = Counter()
    top: Counter[str] = Counter()
    for frames, samples in stacks.items():
        top[frames[-1]] += samples
        for function in set(frames):
            within[function] += samples
    whole = sum(stacks.values())
    return [(name, number / whole, top[name] / whole) for name, number in within.most_common()]


def _profile(service: Service, what: str, pupils: int, path: Path) -> None:
    with simulated(service, pupils) as stage:
        rows, _ = source.decode(stage)  # makes the simulator's pages
        school = stage.register()
        if what == "unchanged":
            progress.say("loading")
            stage.sync(school)
        progress.say(f"sampling: {what}")
        with _sampled(service.pid, path):
            began = time.perf_counter()
            stage.sync(school)
            took = time.perf_counter() - began
        print(f"{what}: {rows:,} rows in {took:.1f} s, {rows / took:,.0f} rows/s")


async def _profile_served(what: str, pupils: int, path: Path) -> None:
    async with served() as service:
        await asyncio.to_thread(_profile, service, what, pupils, path)


def main() -> int:
    """Profile what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("what", choices=["first_load", "unchanged"])
    parser.add_argument(
        "--pupils", type=int, default=1500, help="pupils of the school, each with 380 marks (1500)"
    )
    parser.add_argument("--output", type=Path, help="file for the collapsed stacks (none)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.output or Path(folder) / "stacks.txt"
        asyncio.run(_profile_served(given.what, given.pupils, path))
        if not path.exists():
            print("py-spy took no samples; above it says why", file=sys.stderr)
            return 1
        stacks = parse(path.read_text().splitlines())
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("within", "top"):
        table.add_column(head, justify="right")
    table.add_column("function")
    for name, within, top in shares(stacks)[:_SHOWN]:
        table.add_row(f"{within:.1%}", f"{top:.1%}", name)
    print(f"{sum(stacks.values()):,} samples, {_RATE} a second of each thread that works")
    Console(width=max(120, Console().width), markup=False).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
