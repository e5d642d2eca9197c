"""IdentityService: which source keys mean the same entity."""

from __future__ import annotations

from schoolgate.v1.identity_service_pb2_grpc import IdentityServiceServicer
from schoolgate_server.rpc.ports import Store, Supervisor


class Identity(IdentityServiceServicer):
    """Serves identities; methods not defined here are not served yet."""

    def __init__(self, store: Store, supervisor: Supervisor) -> None:
        self._store = store
        self._supervisor = supervisor
