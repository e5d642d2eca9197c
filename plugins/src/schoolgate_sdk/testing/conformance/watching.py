"""Watching what a function calls: a parser that asks for the time, a file or a random number is found out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Final

_CLOCKS: Final = frozenset(
    {
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "localtime",
        "gmtime",
        "now",
        "utcnow",
        "today",
    }
)
_MODULES: Final = {
    "posix": "the operating system",
    "nt": "the operating system",
    "_socket": "the network",
    "_ssl": "the network",
    "_io": "a file",
    "io": "a file",
    "_random": "a random number",
    "_asyncio": "the event loop",
}


def _forbidden(function: object) -> str | None:
    """Return what a built-in function asks for that a pure function does not, ``None`` where nothing."""
    name = str(getattr(function, "__name__", ""))
    owner: object = getattr(function, "__self__", None)
    if isinstance(owner, ModuleType):
        module = owner.__name__
        if module == "time":
            return "the time" if name in _CLOCKS else None
        if module in {"_io", "io"}:
            return "a file" if name in {"open", "open_code", "FileIO"} else None
        return _MODULES.get(module)
    if owner is None:
        return None
    owner_type = owner if isinstance(owner, type) else type(owner)
    modules = {base.__module__ for base in owner_type.__mro__}
    if "datetime" in modules:
        return "the time" if name in _CLOCKS else None
    return next((_MODULES[module] for module in ("_random", "_socket") if module in modules), None)


@contextmanager
def watched() -> Generator[Callable[[], list[str]]]:
    """Watch this thread; yields what returns the impure things that were asked for so far."""
    seen: list[str] = []

    def look(_frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call":
            what = _forbidden(argument)
            if what is not None and what not in seen:
                seen.append(what)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield lambda: list(seen)
    finally:
        sys.setprofile(before)
