"""What there is to say of a row that another one of its record, or what is stored of it, goes before."""

from __future__ import annotations

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate_sdk import decode_key
from schoolgate_server.ingest.decisions import Finding
from schoolgate_server.ingest.projection import Projected


def same_again(projected: Projected) -> Finding:
    """Return the finding that a row came before, and said the same."""
    return Finding(diagnostics.DECISION_REASON_DUPLICATE_ROW, "", "the row came again", projected.key)


def conflicting(projected: Projected) -> Finding:
    """Return the finding that rows of one record differ."""
    detail = "rows of this record differ; which one was taken depends on what they say, not on their order"
    # Not the row's own key: which of several rows under several keys comes first must make no difference.
    return Finding(diagnostics.DECISION_REASON_CONFLICTING_ROW, "", detail, decode_key(projected.keys[0]))


def older(projected: Projected) -> Finding:
    """Return the finding that what is stored was read after the row."""
    detail = "the record was written from what was read after this row; that stays"
    return Finding(diagnostics.DECISION_REASON_OLDER_KNOWLEDGE, "", detail, projected.key)
