"""Memory of large blocks goes back to the system."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import pytest

from schoolgate_server import main
from schoolgate_server.heap import LARGE, YOUNG, collect_less, give_back_large


class _Info(ctypes.Structure):
    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]


def _blocks_apart() -> int:
    """Return how many blocks are mapped by themselves, ``hblks`` of ``mallinfo2``."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        pytest.skip("the C library is not glibc 2.33 or later")
    mallinfo.restype = _Info
    return int(mallinfo().field_3)


def test_a_large_block_is_given_back_although_a_larger_one_was_freed_before() -> None:
    before = _blocks_apart()
    assert give_back_large()
    del [bytes(16 * LARGE)][0]
    block = bytes(2 * LARGE)
    assert _blocks_apart() == before + 1
    del block
    assert _blocks_apart() == before


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
