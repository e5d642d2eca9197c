"""The hook: how this connector presents itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from schoolgate_bromcom.client import BromcomClient, http_options
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_bromcom.reader import BromcomSession
from schoolgate_bromcom.settings import CREDENTIALS, SETTINGS, BromcomSettings, check_credentials
from schoolgate_sdk import Connector, SchoolConnection, hookimpl
from schoolgate_sdk.http import http_client

_DISTRIBUTION = "schoolgate-bromcom"

_CODE_MEANINGS = {
    "group.type_code": {
        "TUTORGRP": "GROUP_TYPE_TUTOR_GROUP",
        "CLASS": "GROUP_TYPE_CLASS",
    },
    "staff_assignment.role_code": {
        "Main Tutor": "STAFF_ROLE_MAIN_TUTOR",
        "Additional Tutor": "STAFF_ROLE_ADDITIONAL_TUTOR",
        "Main Teacher": "STAFF_ROLE_MAIN_TEACHER",
        "Additional Teacher": "STAFF_ROLE_ADDITIONAL_TEACHER",
        "Head of House": "STAFF_ROLE_HEAD_OF_HOUSE",
    },
    "period.type_code": {
        "PERIOD": "PERIOD_TYPE_LESSON",
        "SESSION": "PERIOD_TYPE_SESSION",
    },
}
"""Bromcom's own words that public sources quote. How it spells the types of houses, years and departments
they do not say: a school maps those itself.
"""


@asynccontextmanager
async def open_session(connection: SchoolConnection) -> AsyncGenerator[BromcomSession, None]:
    """Open a session with one school; nothing is sent before something is read.

    Raises:
        Unsupported: a setting is malformed.
        AuthInvalid: a credential is missing.
    """
    settings = BromcomSettings.parse(connection.settings)
    application_id, application_secret = check_credentials(connection.credentials)
    headers = {
        "ApplicationId": application_id,
        "ApplicationSecret": application_secret,
        "Accept": "application/json",
        "User-Agent": f"{_DISTRIBUTION}/{version(_DISTRIBUTION)}",
    }
    async with http_client(connection, http_options(settings), headers) as http:
        yield BromcomSession(BromcomClient(http, settings), connection.settings, settings.page_size)


def _simulate(arguments: Sequence[str]) -> int:
    from schoolgate_bromcom.simulator import main  # its imports are not a server's to pay for

    return main(arguments)


@hookimpl
def schoolgate_connector() -> Connector:
    """Return the description of the Bromcom connector."""
    return Connector(
        name="bromcom",
        display_name="Bromcom (Partner API 2.0)",
        version=version(_DISTRIBUTION),
        settings=SETTINGS,
        credentials=CREDENTIALS,
        datasets=tuple(dataset.describe() for dataset in DATASETS),
        open=open_session,
        capabilities=frozenset({"grants", "read_back"}),
        code_meanings=_CODE_MEANINGS,
        simulate=_simulate,
    )
