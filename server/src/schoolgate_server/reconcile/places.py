"""Numbers for millions of keys, in about 24 bytes each; a dictionary takes six times as much."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

KEY_BYTES = 16
"""Length of a key: a digest, or the opaque part of a record id."""

_FIRST_SLOTS = 1 << 10


class Places:
    """Keys of 16 random bytes, numbered from 0 in the order in which they came, found by open addressing."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))

    def __len__(self) -> int:
        return len(self._keys) // KEY_BYTES

    def key(self, place: int) -> bytes:
        """Return the key at ``place``."""
        return bytes(self._keys[place * KEY_BYTES : (place + 1) * KEY_BYTES])

    def find(self, key: bytes) -> int:
        """Return the key's place, -1 where it has none."""
        return self._slots[self._slot(key)] - 1

    def place(self, key: bytes) -> tuple[int, bool]:
        """Return the key's place, and whether it is new there."""
        slot = self._slot(key)
        if found := self._slots[slot]:
            return found - 1, False
        self._keys += key
        count = len(self)
        self._slots[slot] = count
        if 2 * count > len(self._slots):
            self._grow()
        return count - 1, True

    def place_all(self, keys: Sequence[bytes]) -> list[int]:
        """Return the places of ``keys``; those that are new get the next ones, in order."""
        while 2 * (len(self) + len(keys)) > len(self._slots):
            self._grow()
        slots, known, count, find = self._slots, self._keys, len(self), self._slot
        places: list[int] = []
        for key in keys:
            slot = find(key)
            if not slots[slot]:
                known += key
                count += 1
                slots[slot] = count
            places.append(slots[slot] - 1)
        return places

    def _slot(self, key: bytes) -> int:
        """Return the slot that holds ``key``, or the empty one where it would go."""
        slots, keys, mask = self._slots, self._keys, len(self._slots) - 1
        slot = int.from_bytes(key[:6], "little") & mask  # of a UUID, too, every bit of these is random
        while entry := slots[slot]:
            if keys.startswith(key, (entry - 1) * KEY_BYTES):
                break
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        slots = array("I", bytes(8 * len(self._slots)))
        mask = len(slots) - 1
        for entry in range(1, len(self) + 1):
            start = (entry - 1) * KEY_BYTES
            slot = int.from_bytes(self._keys[start : start + 6], "little") & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = entry
        self._slots = slots
