"""Tells what a connector did wrong from what went wrong in the server, and waits for none for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from loguru import logger

from schoolgate.v1.failure_pb2 import FAILURE_TYPE_INTERNAL
from schoolgate_sdk import ConnectorError, Transient

T = TypeVar("T")

_CANCELLATIONS = 3
"""How often a connector's call is cancelled before it is left alone: one that never ends must stop nobody."""

_BETWEEN_SECONDS = 0.5
"""Between two of them; long enough to close a connection."""


class ContractBroken(ConnectorError):
    """A connector gave what it must not give; the text says what it should have been."""

    failure_type = FAILURE_TYPE_INTERNAL

    def __init__(self, rule: str) -> None:
        super().__init__(f"the connector broke its contract: {rule}")


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
        ConnectorDefect: the connector raised anything else, be it ``SystemExit``, or a cancellation that
            nobody asked for.
    """
    try:
        yield
    except (ConnectorError, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectorDefect from error
    except BaseException as error:
        raise ConnectorDefect from error


async def ask(answer: Awaitable[T], limit: timedelta, what: str) -> T:
    """Return a connector's answer; it is waited for in a task of its own, whose cancellation is not ours.

    Raises:
        Transient: it did not come within ``limit``; ``what`` begins the sentence that says so.
        ConnectorError, ConnectorDefect: as :func:`connector_at_work` does.
    """
    task = asyncio.create_task(_awaited(answer), name="connector")
    try:
        await asyncio.wait({task}, timeout=limit.total_seconds())
        if not task.done():
            raise Transient(f"{what} took longer than {limit.total_seconds():g} s")
    finally:
        await let_go(task)
    return outcome_of(task)


async def _awaited(answer: Awaitable[T]) -> T:
    with connector_at_work():
        return await answer


def outcome_of(task: asyncio.Task[T]) -> T:
    """Return what a connector's task, which is done, ended with; raises as :func:`connector_at_work` does."""
    if task.cancelled():
        raise ConnectorDefect from asyncio.CancelledError()
    error = task.exception()
    if error is not None and not isinstance(error, Exception):
        raise ConnectorDefect from error
    return task.result()


async def let_go(task: asyncio.Task[Any]) -> None:
    """End a connector's task; one that goes on after several cancellations is left alone."""
    if task.done():
        return
    task.add_done_callback(_looked_at)
    for _ in range(_CANCELLATIONS):
        task.cancel()
        await asyncio.wait({task}, timeout=_BETWEEN_SECONDS)
        if task.done():
            return
    logger.error("a connector's call does not end when it is cancelled; it is left alone")


def _looked_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # so that asyncio does not report it as lost
