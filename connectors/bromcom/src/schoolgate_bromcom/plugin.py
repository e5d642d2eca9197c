"""The hook: how this connector presents itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from schoolgate_bromcom import soap_client
from schoolgate_bromcom.behaviour_writing import RECORD_BEHAVIOUR_EVENT, BehaviourWriter
from schoolgate_bromcom.client import BromcomClient
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_bromcom.partner_reader import PartnerReader
from schoolgate_bromcom.result_settings import ResultSettings
from schoolgate_bromcom.result_writing import RECORD_ASSESSMENT_RESULT, ResultWriter
from schoolgate_bromcom.session import BromcomSession, OperationWriter, SurfaceReader
from schoolgate_bromcom.settings import CREDENTIALS, SETTINGS, BromcomSettings, application_of
from schoolgate_bromcom.soap_client import SoapClient
from schoolgate_bromcom.soap_reader import SoapReader
from schoolgate_bromcom.surfaces import Surface, SurfaceSettings, account_of
from schoolgate_sdk import AuthInvalid, Connector, Identity, SchoolConnection, hookimpl
from schoolgate_sdk.http import http_client

if TYPE_CHECKING:  # the testing kit is not a server's to import
    from schoolgate_sdk.testing.conformance.target import ConformanceTarget

_DISTRIBUTION = "schoolgate-bromcom"
_USER_AGENT = f"{_DISTRIBUTION}/{version(_DISTRIBUTION)}"

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
    surfaces = SurfaceSettings.parse(connection.settings)
    application = application_of(connection.credentials)
    account = account_of(connection.credentials)
    if application is None and Surface.PARTNER in surfaces.in_use:
        raise AuthInvalid("credential application_id is missing", identity=Identity.PARTNER)
    if account is None and Surface.SOAP in surfaces.in_use:
        raise AuthInvalid("credential soap_username is missing", identity=Identity.SCHOOL)
    results = ResultSettings.parse(connection.settings)
    readers: dict[Surface, SurfaceReader] = {}
    writers: dict[str, OperationWriter | str] = {
        RECORD_BEHAVIOUR_EVENT.name: "behaviour events can be written over the Partner API alone",
        RECORD_ASSESSMENT_RESULT.name: "assessment results can be written over the SOAP services alone, "
        "where setting result_write_operation names the operation, which is not public",
    }
    async with AsyncExitStack() as stack:
        # Each surface has a client of its own, so that neither party's credentials reach the other's host.
        if application is not None and surfaces.may_use(Surface.PARTNER):
            http = await stack.enter_async_context(
                http_client(connection, settings.http, _partner_headers(*application))
            )
            client = BromcomClient(http, settings)
            writers[RECORD_BEHAVIOUR_EVENT.name] = BehaviourWriter(client, connection.settings)
            readers[Surface.PARTNER] = PartnerReader(client, connection.settings, settings.page_size)
        if account is not None and (results.operation or surfaces.may_use(Surface.SOAP)):
            options = soap_client.http_options(settings, surfaces)
            http = await stack.enter_async_context(
                http_client(connection, options, {"User-Agent": _USER_AGENT})
            )
            services = SoapClient(http, surfaces.soap_url, settings.school_number, account)
            if surfaces.may_use(Surface.SOAP):
                readers[Surface.SOAP] = SoapReader(
                    services, connection.settings, surfaces.entities, settings.page_size
                )
            if results.operation:
                writers[RECORD_ASSESSMENT_RESULT.name] = ResultWriter(
                    services, readers, surfaces, connection.settings, results
                )
        yield BromcomSession(readers, surfaces, connection.settings, writers)


def _partner_headers(application_id: str, application_secret: str) -> dict[str, str]:
    return {
        "ApplicationId": application_id,
        "ApplicationSecret": application_secret,
        "Accept": "application/json",
        "User-Agent": _USER_AGENT,
    }


def _simulate(arguments: Sequence[str]) -> int:
    from schoolgate_bromcom.simulator import main  # its imports are not a server's to pay for

    return main(arguments)


def _conformance() -> ConformanceTarget:
    from schoolgate_bromcom.conformance import conformance  # as above

    return conformance()


@hookimpl
def schoolgate_connector() -> Connector:
    """Return the description of the Bromcom connector."""
    return Connector(
        name="bromcom",
        display_name="Bromcom (Partner API 2.0 and SOAP services)",
        version=version(_DISTRIBUTION),
        settings=SETTINGS,
        credentials=CREDENTIALS,
        datasets=tuple(dataset.describe() for dataset in DATASETS),
        open=open_session,
        capabilities=frozenset({"grants", "read_back"}),
        writes=(RECORD_BEHAVIOUR_EVENT, RECORD_ASSESSMENT_RESULT),
        code_meanings=_CODE_MEANINGS,
        simulate=_simulate,
        conformance=_conformance,
    )
