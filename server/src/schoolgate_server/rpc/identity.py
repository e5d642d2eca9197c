"""IdentityService: which source keys mean the same entity."""

from __future__ import annotations

import orjson
from google.protobuf.message import Message

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import identity_service_pb2 as i
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record
from schoolgate.v1.sync_service_pb2 import Run
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.calls import current_caller
from schoolgate_server.rpc.checks import LONGEST_NAME, Violations
from schoolgate_server.rpc.digests import digest_of
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.mis_change import MisChange
from schoolgate_server.rpc.tokens import make_token, question_of, read_token

_ACCEPT = i.ResolveIdentityProposalRequest.RESOLUTION_ACCEPT


class Identity(MisChange):
    """Serves identities; changes of MIS are served by its base."""

    async def MergeRecords(self, request: i.MergeRecordsRequest, context: Context) -> i.MergeRecordsResponse:
        violations = Violations()
        violations.record_id(request.survivor_id, "survivor_id")
        violations.record_id(request.merged_id, "merged_id")
        _check_decision(request, violations)
        await self._store.schools.get(request.school_id)
        earlier = await self._store.audit.repeated(request.school_id, request.request_id, digest_of(request))
        if earlier is not None:
            answered = i.MergeRecordsResponse.FromString(earlier)
            return i.MergeRecordsResponse(run=await self._latest(answered.run))
        run = await self._start_merge(request, request.survivor_id, request.merged_id)
        response = i.MergeRecordsResponse(run=run)
        await self._record(
            request, "MERGE_RECORDS", f"{request.merged_id} into {request.survivor_id}", response
        )
        return response

    async def ListIdentityProposals(
        self, request: i.ListIdentityProposalsRequest, context: Context
    ) -> i.ListIdentityProposalsResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        limit = violations.size(request.page_size, default=100, maximum=1000)
        violations.raise_any()
        question = question_of(request)
        before = read_token(question, request.page_token, str)[0] if request.page_token else None
        await self._store.schools.get(request.school_id)
        found = await self._store.proposals.list(request.school_id, before, limit + 1)
        response = i.ListIdentityProposalsResponse(proposals=found[:limit])
        if len(found) > limit:
            response.next_page_token = make_token(question, found[limit - 1].proposal_id)
        return response

    async def ResolveIdentityProposal(
        self, request: i.ResolveIdentityProposalRequest, context: Context
    ) -> i.ResolveIdentityProposalResponse:
        violations = Violations()
        violations.text(request.proposal_id, "proposal_id", maximum=LONGEST_NAME, required=True)
        if request.resolution not in request.Resolution.values() or not request.resolution:
            violations.add("resolution", "must be RESOLUTION_ACCEPT or RESOLUTION_REJECT")
        _check_decision(request, violations)
        await self._store.schools.get(request.school_id)
        earlier = await self._store.audit.repeated(request.school_id, request.request_id, digest_of(request))
        if earlier is not None:
            answered = i.ResolveIdentityProposalResponse.FromString(earlier)
            if answered.HasField("run"):
                answered.run.CopyFrom(await self._latest(answered.run))
            return answered
        response = await self._resolve(request)
        action = request.Resolution.Name(request.resolution)
        await self._record(request, action, request.proposal_id, response)
        return response

    async def _resolve(self, request: i.ResolveIdentityProposalRequest) -> i.ResolveIdentityProposalResponse:
        proposals = self._store.proposals
        which = (request.school_id, request.proposal_id, request.request_id)
        proposal = await proposals.get(*which)
        if request.resolution != _ACCEPT:
            await proposals.reject(*which)
            return i.ResolveIdentityProposalResponse(proposal=proposal)
        # The run first: a proposal whose run was refused stays open.
        run = await self._start_merge(request, proposal.survivor_id, proposal.merged_id)
        await proposals.accept(*which)
        return i.ResolveIdentityProposalResponse(proposal=proposal, run=run)

    async def _start_merge(
        self,
        request: i.MergeRecordsRequest | i.ResolveIdentityProposalRequest,
        survivor_id: str,
        merged_id: str,
    ) -> Run:
        """Accept the run that merges two records, or return the one that this very request began.

        Raises:
            ServiceError: ``RECORD_NOT_FOUND``, ``RECORDS_NOT_MERGEABLE``, or what starting a run raises.
        """
        school_id = request.school_id
        head = await self._store.leases.head(school_id)
        survivor = await self._record_of(school_id, survivor_id, head.published)
        merged = await self._record_of(school_id, merged_id, head.published)
        why = _obstacle(await self._store.redirects.follow(school_id, survivor, head.published), merged)
        if why and not await self._was_merged_by(request.request_id, merged):
            raise ServiceError(
                reasons.ERROR_REASON_RECORDS_NOT_MERGEABLE,
                why,
                metadata={"survivor_id": survivor_id, "merged_id": merged_id},
            )
        operation = orjson.dumps({"type": "merge", "survivor_id": survivor_id, "merged_id": merged_id})
        return await self._supervisor.start_operation(
            school_id, operation, request.request_id, current_caller().name
        )

    async def _record_of(self, school_id: str, record_id: str, seq: int) -> Record:
        record = await self._store.records.get(school_id, record_id, seq)
        if record is None:
            raise ServiceError(
                reasons.ERROR_REASON_RECORD_NOT_FOUND,
                f"school {school_id!r} has no record {record_id}",
                metadata={"school_id": school_id},
            )
        return record

    async def _was_merged_by(self, request_id: str, merged: Record) -> bool:
        """Whether an earlier try of this request, whose answer was lost, has merged the record already."""
        if merged.tombstone.reason != TOMBSTONE_REASON_MERGED:
            return False
        entry = await self._store.runs.get(merged.school_id, merged.run_id)
        return entry.request_id == request_id

    async def _latest(self, run: Run) -> Run:
        return (await self._store.runs.get(run.school_id, run.run_id)).run

    async def _record(
        self,
        request: i.MergeRecordsRequest | i.ResolveIdentityProposalRequest,
        action: str,
        subject: str,
        response: Message,
    ) -> None:
        await self._store.audit.record(
            AuditEntry(
                request.school_id,
                request.request_id,
                digest_of(request),
                action,
                subject,
                current_caller().name,
                self._supervisor.now(),
                request.comment,
                response.SerializeToString(),
            )
        )


def _obstacle(survivor: Record, merged: Record) -> str:
    """Return why ``merged`` cannot be merged into ``survivor``, itself not merged; "" where it can."""
    if survivor.id == merged.id:
        return "a record cannot be merged into itself, or into one that was merged into it"
    if survivor.kind != merged.kind:
        return "records of different kinds cannot be merged"
    if merged.tombstone.reason == TOMBSTONE_REASON_MERGED:
        return f"{merged.id} is merged already, into {merged.tombstone.merged_into}"
    return ""


def _check_decision(
    request: i.MergeRecordsRequest | i.ResolveIdentityProposalRequest, violations: Violations
) -> None:
    """Note what is wrong with what every decision has, and raise whatever was noted."""
    violations.school_id(request.school_id)
    violations.request_id(request.request_id)
    violations.comment(request.comment)
    violations.raise_any()
