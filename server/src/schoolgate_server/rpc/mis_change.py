"""The part of IdentityService that moves a school to another MIS: plan, look, apply."""

from __future__ import annotations

import copy
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping

import orjson

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import identity_service_pb2 as i
from schoolgate.v1.identity_service_pb2_grpc import IdentityServiceServicer
from schoolgate.v1.sync_service_pb2 import Run
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.mis_changes import staleness
from schoolgate_server.rpc.calls import current_caller
from schoolgate_server.rpc.checks import LONGEST_NAME, Violations
from schoolgate_server.rpc.digests import digest_of
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.ports import Store, Supervisor
from schoolgate_server.rpc.registration import check_credentials, check_settings


class MisChange(IdentityServiceServicer):
    """Serves changes of MIS. ``remember_secrets`` is told every credential before anything could log it."""

    def __init__(
        self, store: Store, supervisor: Supervisor, remember_secrets: Callable[[Iterable[str]], None]
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._remember_secrets = remember_secrets

    async def PlanMisChange(
        self, request: i.PlanMisChangeRequest, context: Context
    ) -> i.PlanMisChangeResponse:
        self._remember_secrets(request.credentials.values())
        violations = Violations()
        violations.request_id(request.request_id)
        violations.school_id(request.school_id)
        self._check_connector(request, violations)
        violations.raise_any()
        await self._store.schools.get(request.school_id)
        given = {"settings": dict(request.settings), "credentials": dict(request.credentials)}
        sealed = await self._store.row_seal.seal(request.school_id, orjson.dumps(given))
        operation = orjson.dumps(
            {
                "type": "plan_mis_change",
                "connector": request.connector,
                "sealed": b64encode(sealed).decode(),
            }
        )
        run = await self._supervisor.start_operation(
            request.school_id,
            operation,
            request.request_id,
            current_caller().name,
            request_digest=_digest(request),
        )
        await self._check_repeated(run, operation, given)
        return i.PlanMisChangeResponse(run=run)

    async def GetMisChangePlan(
        self, request: i.GetMisChangePlanRequest, context: Context
    ) -> i.GetMisChangePlanResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.raise_any()
        await self._store.schools.get(request.school_id)
        planned = await self._store.mis_plans.get(request.school_id)
        return i.GetMisChangePlanResponse(plan=planned.plan)

    async def ApplyMisChange(
        self, request: i.ApplyMisChangeRequest, context: Context
    ) -> i.ApplyMisChangeResponse:
        violations = Violations()
        violations.request_id(request.request_id)
        violations.school_id(request.school_id)
        violations.text(request.digest, "digest", maximum=LONGEST_NAME, required=True)
        violations.comment(request.comment)
        violations.raise_any()
        school_id = request.school_id
        await self._store.schools.get(school_id)
        earlier = await self._store.audit.repeated(school_id, request.request_id, _digest(request))
        if earlier is not None:
            answered = i.ApplyMisChangeResponse.FromString(earlier)
            entry = await self._store.runs.get(school_id, answered.run.run_id)
            return i.ApplyMisChangeResponse(run=entry.run)
        planned = await self._store.mis_plans.get(school_id)
        head = await self._store.leases.head(school_id)
        why = staleness(planned, request.digest, head.published)
        if why is not None:
            raise ServiceError(
                reasons.ERROR_REASON_MIS_CHANGE_PLAN_STALE, why, metadata={"school_id": school_id}
            )
        operation = orjson.dumps({"type": "apply_mis_change", "digest": request.digest})
        run = await self._supervisor.start_operation(
            school_id, operation, request.request_id, current_caller().name
        )
        response = i.ApplyMisChangeResponse(run=run)
        await self._store.audit.record(
            AuditEntry(
                school_id,
                request.request_id,
                _digest(request),
                "APPLY_MIS_CHANGE",
                f"{planned.plan.connector} {request.digest}",
                current_caller().name,
                self._supervisor.now(),
                request.comment,
                response.SerializeToString(),
            )
        )
        return response

    async def _check_repeated(self, run: Run, operation: bytes, given: Mapping[str, object]) -> None:
        """Raise where ``run`` is an earlier request's, which brought other credentials under the same id.

        The digest of a request leaves them out, so they are compared as they were sealed.
        """
        begun = (await self._store.runs.get(run.school_id, run.run_id)).operation
        if begun == operation:
            return
        sealed = b64decode(orjson.loads(begun)["sealed"])
        if orjson.loads(await self._store.row_seal.unseal(run.school_id, sealed)) != given:
            raise ServiceError(
                reasons.ERROR_REASON_REQUEST_ID_REUSED,
                "this request_id came before with other credentials; use a new one",
            )

    def _check_connector(self, request: i.PlanMisChangeRequest, violations: Violations) -> None:
        try:
            connector = self._supervisor.connectors.get(request.connector)
        except ServiceError as error:
            violations.add("connector", error.message, error.reason, error.metadata)
            return
        check_settings(request.settings, connector, violations, "settings")
        check_credentials(request.credentials, connector, violations)


def _digest(request: i.PlanMisChangeRequest | i.ApplyMisChangeRequest) -> bytes:
    """Return what tells a repetition of ``request`` from another request under its id.

    Credentials count by their names alone: a hash over a guessable secret would give it away. What they were
    is compared apart.
    """
    asked = copy.deepcopy(request)
    if isinstance(asked, i.PlanMisChangeRequest):
        for name in asked.credentials:
            asked.credentials[name] = ""
    return digest_of(asked)
