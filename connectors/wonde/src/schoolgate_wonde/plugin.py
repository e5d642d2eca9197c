"""The hook: how this connector presents itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from schoolgate_sdk import Connector, SchoolConnection, WriteReceipt, WriteRequest, hookimpl
from schoolgate_sdk.http import http_client
from schoolgate_wonde.client import WondeClient
from schoolgate_wonde.datasets import DATASETS
from schoolgate_wonde.reader import WondeReader
from schoolgate_wonde.settings import CREDENTIALS, SETTINGS, WondeSettings, token_of
from schoolgate_wonde.writing import WRITES, WondeWriter

if TYPE_CHECKING:  # the testing kit is not a server's to import
    from schoolgate_sdk.testing.conformance.target import ConformanceTarget

_DISTRIBUTION = "schoolgate-wonde"

_CODE_MEANINGS = {
    "student.sex_code": {"MALE": "SEX_MALE", "FEMALE": "SEX_FEMALE"},
    "group.type_code": {"CLASS": "GROUP_TYPE_CLASS"},
}
"""What the names of resources and public examples say. Other codes are the MIS's behind Wonde, and a school
maps them.
"""


class WondeSession(WondeReader):
    """Reads and writes one school."""

    def __init__(self, connection: SchoolConnection, client: WondeClient, settings: WondeSettings) -> None:
        super().__init__(client, connection.settings, connection.now)
        self._writer = WondeWriter(client, connection.settings, settings, connection.now)

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """See ``WriteRows``."""
        return await self._writer.write(request)

    async def find_write(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        """See ``FindWrite``."""
        return await self._writer.find_write(request, receipt)


@asynccontextmanager
async def open_session(connection: SchoolConnection) -> AsyncGenerator[WondeSession, None]:
    """Open a session with one school.

    Raises:
        Unsupported: a setting is malformed.
        AuthInvalid: the token is missing.
    """
    settings = WondeSettings.parse(connection.settings)
    headers = {
        "Authorization": f"Bearer {token_of(connection.credentials)}",
        "Accept": "application/json",
        "User-Agent": f"{_DISTRIBUTION}/{version(_DISTRIBUTION)}",
    }
    async with http_client(connection, settings.http, headers) as http:
        yield WondeSession(connection, WondeClient(http, settings), settings)


def _simulate(arguments: Sequence[str]) -> int:
    from schoolgate_wonde.simulator import main  # its imports are not a server's to pay for

    return main(arguments)


def _conformance() -> ConformanceTarget:
    from schoolgate_wonde.conformance import conformance  # as above

    return conformance()


@hookimpl
def schoolgate_connector() -> Connector:
    """Return the description of the Wonde connector."""
    return Connector(
        name="wonde",
        display_name="Wonde",
        version=version(_DISTRIBUTION),
        settings=SETTINGS,
        credentials=CREDENTIALS,
        datasets=tuple(dataset.describe() for dataset in DATASETS),
        open=open_session,
        capabilities=frozenset({"changes", "count", "grants", "read_back"}),
        writes=WRITES,
        code_meanings=_CODE_MEANINGS,
        simulate=_simulate,
        conformance=_conformance,
    )
