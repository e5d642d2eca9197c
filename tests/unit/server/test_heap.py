"""Memory of large blocks goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from typing import Any

import pytest

from schoolgate_server import main
from schoolgate_server.heap import YOUNG, collect_less, give_back_large

_MAPPED_APART = """
import ctypes, sys
from schoolgate_server.heap import LARGE, give_back_large

class Info(ctypes.Structure):
    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]

mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
if mallinfo is None:
    sys.exit("the C library is not glibc 2.33 or later")
mallinfo.restype = Info
before = mallinfo().field_3  # hblks: the blocks that are mapped by themselves
assert give_back_large()
del [bytes(16 * LARGE)][0]
block = bytes(2 * LARGE)
print(mallinfo().field_3 - before)
del block
print(mallinfo().field_3 - before)
"""


def test_a_large_block_is_given_back_although_a_larger_one_was_freed_before() -> None:
    """In a process of its own, where nobody else takes and frees large blocks meanwhile."""
    ended = subprocess.run([sys.executable, "-c", _MAPPED_APART], capture_output=True, text=True, check=False)
    if "not glibc" in ended.stderr:
        pytest.skip(ended.stderr.strip())
    assert (ended.stdout.split(), ended.stderr) == (["1", "0"], "")


def test_a_c_library_without_it_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_anything(_name: str | None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", without_anything)
    assert not give_back_large()


def test_cycles_are_looked_for_seldom_and_not_among_what_was_there() -> None:
    before = gc.get_threshold()
    try:
        collect_less()
        assert gc.get_threshold()[0] == YOUNG
        assert gc.get_freeze_count() > len(gc.get_objects())
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def test_a_service_of_its_own_sees_to_its_memory_before_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    async def serve(*_arguments: Any) -> None:
        done.append("served")

    def configure(*_arguments: Any, **_options: Any) -> None:
        pass

    monkeypatch.setenv("SCHOOLGATE_MONGO__URI", "mongodb://127.0.0.1/?replicaSet=none")
    monkeypatch.setattr(main, "configure_logging", configure)
    monkeypatch.setattr(main, "give_back_large", lambda: done.append("gave back"))
    monkeypatch.setattr(main, "collect_less", lambda: done.append("collects less"))
    monkeypatch.setattr(main, "serve", serve)
    main.run()
    assert done == ["gave back", "collects less", "served"]
