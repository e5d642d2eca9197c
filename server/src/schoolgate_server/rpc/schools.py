"""SchoolService: registering schools and their connection to the MIS."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable

from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1.school_service_pb2_grpc import SchoolServiceServicer
from schoolgate_sdk import Connector
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.schools import CHANGEABLE
from schoolgate_server.rpc.calls import current_caller
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.ports import Store, Supervisor
from schoolgate_server.rpc.registration import (
    check_credentials,
    check_fields,
    check_parser_versions,
    check_settings,
    with_defaults,
)
from schoolgate_server.rpc.tokens import make_token, question_of, read_token


class Schools(SchoolServiceServicer):
    """Serves registrations. ``remember_secrets`` is told every credential before anything could log it."""

    def __init__(
        self, store: Store, supervisor: Supervisor, remember_secrets: Callable[[Iterable[str]], None]
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._remember_secrets = remember_secrets

    async def CreateSchool(self, request: s.CreateSchoolRequest, context: Context) -> s.CreateSchoolResponse:
        self._remember_secrets(request.credentials.values())
        violations = Violations()
        violations.request_id(request.request_id)
        violations.school_id(request.school.school_id, "school.school_id")
        school = with_defaults(request.school)
        check_fields(school, CHANGEABLE, violations)
        connector = self._connector(school.connector, violations)
        if connector is not None:
            check_settings(school.settings, connector, violations)
            check_parser_versions(school.parser_versions, connector, violations)
            if request.credentials:
                check_credentials(request.credentials, connector, violations)
        violations.raise_any()
        created = await self._store.schools.create(school, request.request_id, _digest(request))
        # Also when this call is a repetition; but credentials that are there already may be newer than these.
        if request.credentials and not created.has_credentials:
            await self._store.credentials.set(
                created.school_id, dict(request.credentials), request.request_id
            )
            created = await self._store.schools.get(created.school_id)
        return s.CreateSchoolResponse(school=created)

    async def GetSchool(self, request: s.GetSchoolRequest, context: Context) -> s.GetSchoolResponse:
        _check_school_id(request.school_id)
        school = await self._store.schools.get(request.school_id)
        return s.GetSchoolResponse(school=school, condition=await self._supervisor.condition(school))

    async def ListSchools(self, request: s.ListSchoolsRequest, context: Context) -> s.ListSchoolsResponse:
        violations = Violations()
        limit = violations.size(request.page_size, default=100, maximum=1000)
        violations.raise_any()
        question = question_of(request)
        after = read_token(question, request.page_token, str)[0] if request.page_token else ""
        found = await self._store.schools.list(after, limit + 1, current_caller().schools)
        response = s.ListSchoolsResponse(schools=found[:limit])
        if len(found) > limit:
            response.next_page_token = make_token(question, found[limit - 1].school_id)
        return response

    async def UpdateSchool(self, request: s.UpdateSchoolRequest, context: Context) -> s.UpdateSchoolResponse:
        violations = Violations()
        violations.request_id(request.request_id)
        violations.school_id(request.school.school_id, "school.school_id")
        paths = list(dict.fromkeys(request.update_mask.paths))
        if not paths or not CHANGEABLE.issuperset(paths):
            violations.add(
                "update_mask", f"must name some of {', '.join(sorted(CHANGEABLE))}, and nothing else"
            )
        wanted = request.school
        check_fields(wanted, CHANGEABLE.intersection(paths), violations)
        violations.raise_any()
        endpoints: dict[str, str] = {}
        if {"settings", "parser_versions"}.intersection(paths):
            present = await self._store.schools.get(request.school.school_id)
            connector = self._connector(present.connector, violations)
            if connector is not None and "parser_versions" in paths:
                check_parser_versions(wanted.parser_versions, connector, violations)
            if connector is not None and "settings" in paths:
                check_settings(wanted.settings, connector, violations)
                endpoints = {spec.name: spec.default for spec in connector.settings if spec.endpoint}
            violations.raise_any()
        school = await self._store.schools.update(
            wanted, paths, request.request_id, _digest(request), endpoints
        )
        return s.UpdateSchoolResponse(school=school)

    async def SetCredentials(
        self, request: s.SetCredentialsRequest, context: Context
    ) -> s.SetCredentialsResponse:
        self._remember_secrets(request.credentials.values())
        violations = Violations()
        violations.request_id(request.request_id)
        violations.school_id(request.school_id)
        violations.raise_any()
        school = await self._store.schools.get(request.school_id)
        connector = self._connector(school.connector, violations)
        if connector is not None:
            check_credentials(request.credentials, connector, violations)
        violations.raise_any()
        await self._store.credentials.set(request.school_id, dict(request.credentials), request.request_id)
        return s.SetCredentialsResponse(school=await self._store.schools.get(request.school_id))

    async def CheckConnection(
        self, request: s.CheckConnectionRequest, context: Context
    ) -> s.CheckConnectionResponse:
        _check_school_id(request.school_id)
        return await self._supervisor.check_connection(request.school_id)

    def _connector(self, name: str, violations: Violations) -> Connector | None:
        """Return the school's connector, or ``None`` after noting that it is not known."""
        try:
            return self._supervisor.connectors.get(name)
        except ServiceError as error:
            violations.add("school.connector", error.message, error.reason, error.metadata)
            return None


def _check_school_id(school_id: str) -> None:
    violations = Violations()
    violations.school_id(school_id)
    violations.raise_any()


def _digest(request: s.CreateSchoolRequest | s.UpdateSchoolRequest) -> bytes:
    """Return what tells a repetition of ``request`` from another request under its id.

    Credentials count by their names alone: a hash over a guessable secret would give it away.
    """
    asked = copy.deepcopy(request)
    asked.ClearField("request_id")
    if isinstance(asked, s.CreateSchoolRequest):
        for name in asked.credentials:
            asked.credentials[name] = ""
    return hashlib.blake2b(asked.SerializeToString(deterministic=True), digest_size=16).digest()
