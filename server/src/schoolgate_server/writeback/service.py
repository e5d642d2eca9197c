"""Writing back, as callers ask for it: everything about writes but their sending."""

from __future__ import annotations

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.clock import Clock
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.backing import Backing, Preview, Wake
from schoolgate_server.writeback.decisions import WriteDecisions
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.policies import PolicyBook
from schoolgate_server.writeback.reversal import Reversal
from schoolgate_server.writeback.submission import Acceptance


class WriteService:
    """Accepts, stops, undoes and settles writes of one server, and sets what may be written.

    ``preview`` shows what would be sent, under policy ``DRY_RUN``; ``wake`` tells the dispatcher that there
    is something to send. Requests are those that :mod:`schoolgate_server.rpc.write_checks` finds nothing
    wrong with; what is to be written is checked here. Callers are names, and have the roles that each
    method needs. Every method may raise ``StoreUnavailable``. No error holds personal data: violations name
    fields, and limits.
    """

    def __init__(
        self,
        store: Store,
        connectors: ConnectorHost,
        clock: Clock,
        options: WriteOptions,
        preview: Preview,
        wake: Wake,
    ) -> None:
        backing = Backing(store, connectors, clock, options, preview, wake)
        self._acceptance = Acceptance(backing)
        self._decisions = WriteDecisions(backing)
        self._reversal = Reversal(backing, self._acceptance)
        self._policies = PolicyBook(backing)

    async def submit(
        self, request: pb.SubmitWriteRequest, caller: str, correlation_id: str
    ) -> pb.SubmitWriteResponse:
        """Make a write durable that is right and that its policy lets through.

        A key that came before gets the write of then, whatever the policy is now. ``validate_only`` ends
        before the policy is heeded, and tells it. Under ``DRY_RUN`` nothing is stored; what would be sent is
        shown where the connector announces what leaves.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``, ``CONNECTOR_UNKNOWN``, ``WRITE_UNSUPPORTED``,
                ``IDEMPOTENCY_KEY_REUSED``, ``REQUEST_INVALID`` with all that is wrong, ``WRITE_POLICY_OFF``,
                ``WRITE_QUOTA_EXCEEDED``, ``VAULT_UNAVAILABLE``; what the preview raises.
        """
        return await self._acceptance.submit(request, caller, correlation_id)

    async def approve(self, request: pb.ApproveWriteRequest, caller: str) -> pb.ApproveWriteResponse:
        """Let a write through that its policy holds, or would hold now; its place is the last about the same.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``, ``APPROVER_IS_SUBMITTER``.
        """
        return pb.ApproveWriteResponse(write=await self._decisions.approve(request, caller))

    async def cancel(self, request: pb.CancelWriteRequest) -> pb.CancelWriteResponse:
        """Withdraw a write that has not been sent.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``.
        """
        return pb.CancelWriteResponse(write=await self._decisions.cancel(request))

    async def reverse(
        self, request: pb.ReverseWriteRequest, caller: str, correlation_id: str
    ) -> pb.ReverseWriteResponse:
        """Undo a write that took effect: by a write of the caller's that obeys policy as any does, or by a
        task where the connector has none, or where it would not be right by now.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``, ``WRITE_POLICY_OFF`` (under
                ``DRY_RUN`` too), ``WRITE_QUOTA_EXCEEDED``, ``REQUEST_INVALID``.
        """
        return await self._reversal.reverse(request, caller, correlation_id)

    async def resolve(self, request: pb.ResolveWriteRequest, caller: str) -> pb.ResolveWriteResponse:
        """Settle a write that needs attention, or a task, by what a person found out.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``, ``REQUEST_INVALID``.
        """
        return pb.ResolveWriteResponse(write=await self._decisions.resolve(request, caller))

    async def set_policy(self, request: pb.SetWritePolicyRequest, caller: str) -> pb.SetWritePolicyResponse:
        """Set what may be written; it is durable before anything else is done, and before this answers.

        ``ON`` and ``APPROVAL`` make due again what waits. ``OFF`` with ``cancel_queued`` cancels it, and what
        is being sent at that moment and comes back unsent later. The counts are those after that: what is
        queued, and what has left or may have.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``.
        """
        return await self._policies.set(request, caller)

    async def get_policy(self, request: pb.GetWritePolicyRequest) -> pb.GetWritePolicyResponse:
        """Return what may be written, of every operation.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``.
        """
        return await self._policies.get(request)
