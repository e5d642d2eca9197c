"""Tells what a connector did wrong from what went wrong in the server itself."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from schoolgate_sdk import ConnectorError


class ConnectorDefect(Exception):
    """A connector raised what it must not; the cause says what."""

    @property
    def defect(self) -> BaseException:
        """What the connector raised."""
        return self.__cause__ or self


@contextmanager
def connector_at_work() -> Generator[None]:
    """Surround every call of a connector's code.

    Raises:
        ConnectorError: as the connector raised it.
        ConnectorDefect: the connector raised anything else.
    """
    try:
        yield
    except ConnectorError:
        raise
    except Exception as error:
        raise ConnectorDefect from error
