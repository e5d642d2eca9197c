"""Failures of writes, in words for whoever has to do something about them."""

from __future__ import annotations

from schoolgate.v1 import failure_pb2 as f
from schoolgate_server.model.failures import failure

_RESOLVE = "Look in the MIS, then say with WritebackService.ResolveWrite what came of it."


def _said(
    failure_type: f.FailureType.ValueType,
    message: str,
    remediation: str,
    audience: f.Audience.ValueType = f.AUDIENCE_OPERATOR,
) -> f.Failure:
    said = failure(failure_type, message, audience=audience)
    said.remediation = remediation
    return said


def stopped_by_policy() -> f.Failure:
    """Return why a write waits whose policy lets nothing leave."""
    return _said(
        f.FAILURE_TYPE_HELD,
        "stopped by policy",
        "Set the operation's policy with WritebackService.SetWritePolicy, or cancel the write.",
    )


def awaits_approval() -> f.Failure:
    """Return why a write waits that was not approved."""
    return _said(
        f.FAILURE_TYPE_HELD,
        "its policy asks for approval now, and it was accepted without",
        "Approve it with WritebackService.ApproveWrite, cancel it, or set the policy to ON.",
    )


def too_late(before: f.Failure | None) -> f.Failure:
    """Return why a write is given up whose time to be sent is over; ``before`` is what kept it."""
    kept = f": {before.message}" if before is not None and before.message else ""
    kind = before.type if before is not None and before.type else f.FAILURE_TYPE_TRANSIENT
    return _said(
        kind,
        f"it could not be sent before it expired{kept}",
        "Submit it under another key, where it is still wanted.",
    )


def server_gone() -> f.Failure:
    """Return why nobody knows what came of an attempt whose server did not come back in time."""
    return _said(
        f.FAILURE_TYPE_TRANSIENT,
        "the server that was sending it did not say what came of it",
        "Nothing: it is looked for in the MIS.",
        f.AUDIENCE_NOBODY,
    )


def cut_off() -> f.Failure:
    """Return why an attempt ended whose time was over."""
    return _said(
        f.FAILURE_TYPE_TRANSIENT,
        "it was broken off: the attempt's time was over, or the server stopped",
        "Nothing: it is tried again, or looked for in the MIS.",
        f.AUDIENCE_NOBODY,
    )


def not_now(why: str) -> f.Failure:
    """Return why the gate kept a write back that is sent again."""
    return _said(
        f.FAILURE_TYPE_TRANSIENT,
        f"it was kept back at the last moment: {why}",
        "Nothing: it is sent again.",
        f.AUDIENCE_NOBODY,
    )


def broken_promise() -> f.Failure:
    """Return why an outcome is unknown that a connector gave without saying that anything leaves."""
    return _said(
        f.FAILURE_TYPE_INTERNAL,
        "the connector did not keep to what it promises of WriteRequest.leaving",
        "Report the defect; the write is looked for in the MIS.",
        f.AUDIENCE_CONNECTOR_AUTHOR,
    )


def cannot_be_written(what: str) -> f.Failure:
    """Return why a write can never be sent as it is."""
    return _said(
        f.FAILURE_TYPE_UNSUPPORTED, what, "Submit it anew, as the school's MIS can be written to now."
    )


def contents_lost() -> str:
    """Return why a write can be neither sent nor looked for of which only its key and state are left."""
    return "what it says cannot be read any more, as after the loss of the vault's key"


def unavailable(why: str) -> f.Failure:
    """Return why a write waits for which the service itself lacks something for now."""
    return _said(f.FAILURE_TYPE_INTERNAL, why, "Mend it; the write is tried again.")


def undecided(why: str) -> f.Failure:
    """Return why a person has to decide."""
    return _said(f.FAILURE_TYPE_INCOMPLETE, f"it cannot be known whether it took effect: {why}", _RESOLVE)


def taken_twice() -> f.Failure:
    """Return why a person has to look at a write of which two attempts were accepted."""
    return _said(
        f.FAILURE_TYPE_INCOMPLETE,
        "the MIS took two attempts of it, one of them later than any may",
        "Look in the MIS whether it is there twice, remove one, then use WritebackService.ResolveWrite.",
    )


def not_shown() -> f.Failure:
    """Return why a write needs attention that the MIS took and does not show."""
    return _said(f.FAILURE_TYPE_INCOMPLETE, "the MIS said that it took it, and does not show it", _RESOLVE)


def not_synced() -> f.Failure:
    """Return why a write needs attention that is in the MIS and does not come with its data."""
    return _said(
        f.FAILURE_TYPE_INCOMPLETE,
        "it was found in the MIS, and does not come with the school's data",
        "See whether the school's syncs succeed, then use WritebackService.ResolveWrite.",
    )


def says_otherwise(fields: str) -> f.Failure:
    """Return what the MIS has now in place of what was written; ``fields`` names no values."""
    return _said(
        f.FAILURE_TYPE_HELD,
        f"the MIS has it otherwise by now: {fields}",
        "The MIS is right. Write it again under another key only if it is still wanted.",
    )
