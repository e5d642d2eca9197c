"""DiagnosticsService: connectors, decisions and shadow runs of parsers."""

from __future__ import annotations

import copy

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1.diagnostics_service_pb2_grpc import DiagnosticsServiceServicer
from schoolgate_server.rpc.checks import LONGEST_NAME, Violations
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.ports import Store, Supervisor
from schoolgate_server.rpc.tokens import make_token, question_of, read_token


class Diagnostics(DiagnosticsServiceServicer):
    """Serves what is known about connectors and source rows; methods not defined here are not served yet."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self._store = store
        self._supervisor = supervisor

    async def ListConnectors(
        self, request: d.ListConnectorsRequest, context: Context
    ) -> d.ListConnectorsResponse:
        return d.ListConnectorsResponse(connectors=self._supervisor.connectors.infos())

    async def ListDecisions(
        self, request: d.ListDecisionsRequest, context: Context
    ) -> d.ListDecisionsResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.text(request.dataset, "dataset", maximum=40)
        limit = violations.size(request.page_size, default=100, maximum=1000)
        violations.raise_any()
        question = question_of(request)
        before = read_token(question, request.page_token, str)[0] if request.page_token else None
        await self._store.schools.get(request.school_id)
        found = await self._store.decisions.list(request.school_id, request.dataset, before, limit + 1)
        response = d.ListDecisionsResponse(decisions=found[:limit])
        if len(found) > limit:
            response.next_page_token = make_token(question, found[limit - 1].decision_id)
        return response

    async def CompareParsers(
        self, request: d.CompareParsersRequest, context: Context
    ) -> d.CompareParsersResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.text(request.dataset, "dataset", maximum=LONGEST_NAME, required=True)
        if request.from_version < 0:
            violations.add("from_version", "must be a version; 0 means the one that the school uses")
        if request.to_version < 1:
            violations.add("to_version", "must be given")
        examples = violations.size(request.examples, default=5, maximum=100, field="examples")
        violations.raise_any()
        asked = copy.deepcopy(request)
        asked.examples = examples
        return await self._supervisor.compare_parsers(asked)
