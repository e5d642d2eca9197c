"""The simulator with every mark of its year corrected to N, which over HTTP would be millions of edits.

Takes the simulator's options, and says the same when it is ready: ``python -m bench.altered_mis --port …``.
"""

from __future__ import annotations

import sys

from schoolgate_bromcom.simulator.command import (
    build_accounts,
    build_application,
    build_schools,
    parse_options,
)
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_sdk.testing.simulating import run_simulator, serve_until_ended

CODE = "N"


async def _serve(arguments: list[str]) -> None:
    options = parse_options(arguments)
    schools = build_schools(options)
    for school in schools.values():
        for mark in list(school.world.marks()):
            if mark.code != CODE:
                edit = {"op": "correct_mark", "pupil": mark.pupil, "session": mark.session, "code": CODE}
                school.apply({**edit, "date": mark.date.isoformat()})
    accounts = build_accounts(options, schools)
    api = PartnerApi(schools, options.application_id, options.application_secret, accounts)

    def greeting(url: str) -> dict[str, object]:
        credentials = {
            "application_id": options.application_id,
            "application_secret": options.application_secret,
        }
        return {"base_url": f"{url}/v2", "schools": list(schools), "settings": {}, **credentials}

    await serve_until_ended(build_application(api), options.host, options.port, greeting)


if __name__ == "__main__":
    sys.exit(run_simulator("bromcom", _serve(sys.argv[1:])))
