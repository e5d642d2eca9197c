"""What simulators that run as processes of their own share. Needs the extra ``schoolgate-sdk[http]``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

import orjson
from aiohttp import web

from schoolgate_sdk.testing.errors import WorldError


async def serve_until_ended(
    application: web.Application, host: str, port: int, greeting: Callable[[str], Mapping[str, object]]
) -> None:
    """Serve until SIGTERM or SIGINT; ``port`` 0 takes a free one.

    Once it listens, one line of JSON on standard output says so: ``ready``, ``url``, and what ``greeting``
    makes of the address.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await web.TCPSite(runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{runner.addresses[0][1]}"
        ready = {"ready": True, "url": url, **greeting(url)}
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        await runner.cleanup()


def run_simulator(name: str, serving: Coroutine[Any, Any, None]) -> int:
    """Run a simulator's :func:`serve_until_ended` to its end; return the exit status."""
    try:
        asyncio.run(serving)
    except (WorldError, OSError) as error:
        sys.stderr.write(f"simulate {name}: {error}\n")
        return 1
    return 0


def add_fault_option(parser: argparse.ArgumentParser, read: Callable[[dict[str, object]], object]) -> None:
    """Give a simulator's command ``--fault JSON``, which may be repeated.

    ``fault`` of what is parsed is a list of what ``read`` makes of the JSON objects. Where that raises
    ``ValueError``, or a text is no JSON object, the command ends with status 2 and a message.
    """

    def fault(text: str) -> object:
        try:
            given: Any = orjson.loads(text)
            if not isinstance(given, dict):
                raise ValueError("a fault is a JSON object")  # noqa: TRY004 - a matter of the text
            return read(cast("dict[str, object]", given))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=fault,
        metavar="JSON",
        help="a fault, as the control interface takes it; may be repeated",
    )


async def json_object(request: web.Request) -> dict[str, object]:
    """Return the body of a control request; raises ``HTTPBadRequest`` where it is no JSON object."""
    try:
        given: Any = await request.json()
    except ValueError as error:
        raise bad_request("the body is no JSON") from error
    return as_object(given)


def as_object(given: object) -> dict[str, object]:
    """Return ``given``; raises ``HTTPBadRequest`` where it is no JSON object."""
    if not isinstance(given, dict):
        raise bad_request("a JSON object was expected")
    return cast("dict[str, object]", given)


def bad_request(problem: str) -> web.HTTPBadRequest:
    """Return the answer to a control request that cannot be done."""
    return web.HTTPBadRequest(text=problem)
