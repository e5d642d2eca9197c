"""The command: options, worlds, the listening socket, and an orderly end."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from aiohttp import web

from schoolgate_bromcom.simulator.control import Control
from schoolgate_bromcom.simulator.effects import SchoolAccount
from schoolgate_bromcom.simulator.entities import ENTITIES, PersonIds
from schoolgate_bromcom.simulator.faults import Fault
from schoolgate_bromcom.simulator.record_rows import RESULT_SETTINGS, SETTINGS
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_bromcom.simulator.soap_service import PATH, ThirdPartyServices
from schoolgate_bromcom.simulator.soap_writes import WRITE_PATH, ThirdPartyWrites
from schoolgate_bromcom.simulator.writes import PartnerWrites
from schoolgate_sdk.testing.simulating import add_fault_option, run_simulator, serve_until_ended
from schoolgate_sdk.testing.world import World

_SANDBOX_SCHOOL = 20001
"""The number of the vendor's sandbox school."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, typed."""

    host: str
    port: int
    seed: int
    pupils: int
    academic_year_start: date
    marks_until: date | None
    data: Path | None
    schools: tuple[int, ...]
    today: date | None
    page_size: int
    person_ids: PersonIds
    tidy: bool
    mark_subcodes: bool
    write_licence: bool
    application_id: str
    application_secret: str
    soap_password: str
    soap_grants: frozenset[str]
    faults: tuple[Fault, ...]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulate bromcom", description="Simulates Bromcom's Partner API 2.0 and its SOAP services."
    )
    add = parser.add_argument
    day = date.fromisoformat
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    add("--seed", type=int, default=1, help="seed of the first school; each further one takes the next")
    add("--pupils", type=int, default=1500, help="pupils per school")
    add("--academic-year-start", type=day, default=date(2026, 9, 1), metavar="DATE")
    add("--marks-until", type=day, metavar="DATE", help="first day whose registers are not taken")
    add("--data", type=Path, metavar="DIR", help="serve the schools of School Data Sync CSV files instead")
    add("--school", type=int, action="append", metavar="N", help="school number; may be repeated")
    add("--today", type=day, metavar="DATE", help="fix the simulated day, which decides who has left")
    add("--page-size", type=int, default=100_000, help="rows of a full page")
    add(
        "--person-ids",
        choices=["column", "absent", "same"],
        default="column",
        help="personId on StudentFlatView; or none; or none, and personID of members equals studentId",
    )
    add("--tidy", action="store_true", help="no padding, double rows, stand-ins for null, suffixes")
    add(
        "--mark-subcodes",
        action="store_true",
        help="marks with subcodes of the school's own (I01, MD), as they may have since August 2024",
    )
    add("--no-write-licence", action="store_true", help="the schools have no Third Party Write Licence")
    add("--application-id", default="", help="accepted ApplicationId (default: random)")
    add("--application-secret", default="", help="accepted ApplicationSecret (default: random)")
    add("--soap-password", default="", help="password of the schools' accounts (default: random ones)")
    add(
        "--soap-grant",
        action="append",
        choices=["all", *ENTITIES],
        metavar="ENTITY",
        help='an entity that the schools have ticked for SOAP, or "all"; may be repeated (default: none)',
    )
    add_fault_option(parser, Fault.from_json)
    return parser


def parse_options(arguments: Sequence[str]) -> Options:
    """Return the typed options; ends the process with status 2 and a message where they are malformed."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.page_size < 1 or given.pupils < 1:
        parser.error("--page-size and --pupils must be positive")
    ticked: set[str] = set(given.soap_grant or ())
    return Options(
        host=given.host,
        port=given.port,
        seed=given.seed,
        pupils=given.pupils,
        academic_year_start=given.academic_year_start,
        marks_until=given.marks_until,
        data=given.data,
        schools=tuple(given.school or ()),
        today=given.today,
        page_size=given.page_size,
        person_ids=given.person_ids,
        tidy=given.tidy,
        mark_subcodes=given.mark_subcodes,
        write_licence=not given.no_write_licence,
        application_id=given.application_id or secrets.token_hex(16),
        application_secret=given.application_secret or secrets.token_urlsafe(32),
        soap_password=given.soap_password,
        soap_grants=frozenset(ENTITIES if "all" in ticked else ticked),
        faults=tuple(given.fault),
    )


def build_schools(options: Options) -> dict[int, SimulatedSchool]:
    """Return the schools by number.

    Raises:
        WorldError: a world cannot be built, or the CSV files cannot be read.
    """
    if options.data is not None:
        folder = options.data
        numbers = options.schools or tuple(school.dfe_number for school in World.schools_in_sds(folder))
        worlds = {
            number: World.from_sds(folder, number, seed=options.seed, marks_until=options.marks_until)
            for number in numbers
        }
    else:
        worlds = {
            number: World.build(
                options.seed + index, options.pupils, options.academic_year_start, options.marks_until
            )
            for index, number in enumerate(options.schools or (_SANDBOX_SCHOOL,))
        }
    return {
        number: SimulatedSchool(
            number,
            world,
            today=options.today,
            person_ids=options.person_ids,
            page_size=options.page_size,
            tidy=options.tidy,
            mark_subcodes=options.mark_subcodes,
            may_be_written=options.write_licence,
        )
        for number, world in worlds.items()
    }


def build_accounts(options: Options, numbers: Iterable[int]) -> dict[int, SchoolAccount]:
    """Return the account that each school keeps at the SOAP services."""
    return {
        number: SchoolAccount(
            f"schoolgate-{number}",
            options.soap_password or secrets.token_urlsafe(24),
            set(options.soap_grants),
        )
        for number in numbers
    }


def build_application(api: PartnerApi) -> web.Application:
    """Return the web application: the Partner API, the SOAP services and the control interface."""
    application = web.Application()
    application.add_routes(
        [
            web.get("/v2/{entity}", api.entity),
            *ThirdPartyServices(api).routes(),
            *PartnerWrites(api).routes(),
            *ThirdPartyWrites(api).routes(),
            *Control(api).routes(),
        ]
    )
    return application


async def _serve(options: Options) -> None:
    schools = build_schools(options)
    accounts = build_accounts(options, schools)
    api = PartnerApi(schools, options.application_id, options.application_secret, accounts)
    control = Control(api)
    for fault in options.faults:
        control.add_fault(fault)

    def greeting(url: str) -> dict[str, object]:
        return {
            "base_url": f"{url}/v2",
            "schools": list(schools),
            "application_id": options.application_id,
            "application_secret": options.application_secret,
            "settings": {**SETTINGS, **RESULT_SETTINGS, "soap_write_url": f"{url}{WRITE_PATH}"},
            "soap_url": f"{url}{PATH}",
            "accounts": {
                str(number): {"username": account.username, "password": account.password}
                for number, account in accounts.items()
            },
        }

    await serve_until_ended(build_application(api), options.host, options.port, greeting)


def main(arguments: Sequence[str]) -> int:
    """Run the simulator until SIGTERM or SIGINT; return the exit status.

    One line of JSON on standard output says that it listens, where, for which schools and with which
    credentials.
    """
    return run_simulator("bromcom", _serve(parse_options(arguments)))
