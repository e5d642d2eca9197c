"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says nothing about the code when other processes share the machine; `timeout` in
# pyproject.toml ends what never ends.
settings.register_profile("schoolgate", deadline=None)
settings.load_profile("schoolgate")
