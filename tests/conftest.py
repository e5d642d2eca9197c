"""What holds for every test."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.support.connecting import closed_when_cancelled

# How long an example takes says nothing about the code when other processes share the machine; `timeout` in
# pyproject.toml ends what never ends.
settings.register_profile("schoolgate", deadline=None)
settings.load_profile("schoolgate")


@pytest.fixture(scope="session", autouse=True)
def _sockets_are_closed() -> Generator[None]:
    with closed_when_cancelled():
        yield
