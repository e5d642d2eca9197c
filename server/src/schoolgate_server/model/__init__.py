"""What everything above agrees on: ids, keys, hashes, codes, profiles, errors. No I/O, no clock.

Canonical messages come from ``schoolgate.v1`` and are used as they are; no class here mirrors one.
"""
