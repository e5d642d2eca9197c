"""Decides what changed and what left. Pure: values in, values out; no I/O, no clock, no randomness."""
