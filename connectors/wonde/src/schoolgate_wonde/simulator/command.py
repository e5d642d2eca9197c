"""The command: options, worlds, the listening socket, and an orderly end."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime

from aiohttp import web

from schoolgate_sdk.testing.simulating import add_fault_option, run_simulator, serve_until_ended
from schoolgate_sdk.testing.world import World
from schoolgate_wonde.simulator.control import Control, checked_fault
from schoolgate_wonde.simulator.school import SimulatedSchool
from schoolgate_wonde.simulator.service import WondeApi

FIRST_SCHOOL = 1_930_499_544
"""Schools are numbered from here."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="schoolgate simulate wonde", description="Serve synthetic schools as Wonde would."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: a free one")
    parser.add_argument("--seed", type=int, default=1, help="what the schools are drawn from")
    parser.add_argument("--pupils", type=int, default=150, help="pupils per school (%(default)s)")
    parser.add_argument("--schools", type=int, default=1, help="how many schools")
    parser.add_argument("--marks-until", type=date.fromisoformat, help="first day without registers")
    parser.add_argument("--token", help="the token that is accepted; default: a random one")
    parser.add_argument(
        "--write-delay", type=float, default=2.0, help="seconds until a write takes effect (%(default)s)"
    )
    parser.add_argument(
        "--wrong-region", action="store_true", help="take the token, and have no data, as another region does"
    )
    add_fault_option(parser, checked_fault)
    return parser


def _names(options: argparse.Namespace) -> list[str]:
    return [f"A{FIRST_SCHOOL + index}" for index in range(options.schools)]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    names = _names(options)
    for fault in options.fault:
        if fault.setdefault("school", names[0] if len(names) == 1 else None) not in names:
            parser.error("the school of a fault must be the id of a school that is served")
    return options


def build_api(options: argparse.Namespace) -> WondeApi:
    """Return the API over new worlds; raises ``WorldError`` where they cannot be built."""

    def now() -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - a process of its own has no other clock

    schools: dict[str, SimulatedSchool] = {}
    for index, name in enumerate(_names(options)):
        world = World.build(options.seed + index, options.pupils, marks_until=options.marks_until)
        schools[name] = SimulatedSchool(name, world, now, write_delay=options.write_delay)
    token = options.token or secrets.token_urlsafe(32)
    options.token = token
    return WondeApi(schools, token, has_data=not options.wrong_region)


def build_application(api: WondeApi) -> web.Application:
    """Return the web application: the API and the control interface."""
    application = web.Application()
    application.add_routes([*Control(api).routes(), web.route("*", "/v1.0/schools/{path:.*}", api.handle)])
    return application


async def _serve(options: argparse.Namespace) -> None:
    api = build_api(options)
    control = Control(api)
    for fault in options.fault:
        control.make_fault(api.schools[fault["school"]], fault)

    def greeting(url: str) -> dict[str, object]:
        return {"base_url": f"{url}/v1.0", "schools": list(api.schools), "token": options.token}

    await serve_until_ended(build_application(api), options.host, options.port, greeting)


def main(arguments: Sequence[str]) -> int:
    """Run the simulator until SIGTERM or SIGINT; return the exit status.

    One line of JSON on standard output says that it listens, where, for which schools and with which token.
    """
    return run_simulator("wonde", _serve(_options(arguments)))
