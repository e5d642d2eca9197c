"""WritebackService: described, so that callers can be written, and not served by this release."""

from __future__ import annotations

from schoolgate.v1.writeback_service_pb2_grpc import WritebackServiceServicer


class Writeback(WritebackServiceServicer):
    """Defines no method, so that every one is answered with ``METHOD_NOT_SERVED``."""
