"""The process's memory: the C library's heap, which keeps large blocks that were freed unless it is told not
to, and Python's collector of cycles, which looks for them too often.
"""

from __future__ import annotations

import ctypes
import gc

LARGE = 1 << 20
"""Bytes of a block that goes back to the system once it is freed: pages of answers, and what is made of them.

Less would cost a system call for what comes by the thousand.
"""

_M_MMAP_THRESHOLD = -3
"""The parameter's number in glibc's ``malloc.h``."""


def give_back_large() -> bool:
    """Have blocks of :data:`LARGE` bytes and more be given back as they are freed; return whether they are.

    glibc does so by itself, until the first one is freed: from then on it takes blocks of that size from the
    heap, where what was allocated after them keeps their place. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE))


YOUNG = 50_000
"""Objects, by how many more were made than freed, after which cycles are looked for among the new ones."""


def collect_less() -> None:
    """Have cycles looked for seldom, and never among what is there by now.

    Rows come to hundreds of thousands of tuples and messages, none of them in a cycle, and to look through
    them by every 700, as Python does, took a sixth of a first load's time.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
