"""Requests are told from one another, those of different methods too."""

from __future__ import annotations

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.rpc.digests import digest_of


def test_requests_of_two_methods_with_the_same_bytes_are_two() -> None:
    """Seen to fail with a digest of the bytes alone."""
    given = {"school_id": "oak", "write_id": "wrt_1", "request_id": "r", "comment": "why"}
    approval, cancellation = pb.ApproveWriteRequest(**given), pb.CancelWriteRequest(**given)
    assert approval.SerializeToString() == cancellation.SerializeToString()
    assert digest_of(approval) != digest_of(cancellation)
    assert digest_of(approval) == digest_of(pb.ApproveWriteRequest(**given))
