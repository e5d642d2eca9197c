"""The C library's heap, which keeps large blocks that were freed unless it is told not to."""

from __future__ import annotations

import ctypes

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
