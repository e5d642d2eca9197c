"""Seeded randomness: one independent stream for every use."""

from __future__ import annotations

from random import Random


def stream(seed: int, *labels: str | int) -> Random:
    """Return a generator that depends on ``seed`` and ``labels`` alone.

    Python hashes a text seed with SHA-512, so that streams are the same in every process. Separate streams
    keep one part of a world from changing when another part draws once more.
    """
    return Random("/".join(str(part) for part in (seed, *labels)))


def chance(random: Random, probability: float) -> bool:
    """Return true with the given probability."""
    return random.random() < probability
