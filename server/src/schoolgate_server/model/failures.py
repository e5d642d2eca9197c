"""Failures as callers see them: who can act, and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1 import failure_pb2 as f
from schoolgate_sdk import CircuitOpen, ConnectorError, Identity, RateLimited

LONGEST_MESSAGE = 500
"""Characters of a connector's message that are kept: enough for a sentence, too few for a response."""

LONGEST_ENTITY = 100
"""Characters of an entity's name that are kept."""

_ASK_TO_GRANT = (
    "Ask the school to grant {entity} to the application in its MIS, again if it was granted before."
)


class Advice(NamedTuple):
    """Who can act on a type of failure, and how."""

    audience: f.Audience.ValueType
    remediation: str


ADVICE: MappingProxyType[f.FailureType.ValueType, Advice] = MappingProxyType(
    {
        f.FAILURE_TYPE_TRANSIENT: Advice(
            f.AUDIENCE_NOBODY, "Sync again; if it persists, check that the MIS is up."
        ),
        f.FAILURE_TYPE_RATE_LIMITED: Advice(
            f.AUDIENCE_NOBODY,
            "Sync again after the pause that the MIS asked for; retry_at says until when, if it did.",
        ),
        f.FAILURE_TYPE_AUTH_EXPIRED: Advice(
            f.AUDIENCE_OPERATOR, "Renew the credentials with SchoolService.SetCredentials."
        ),
        f.FAILURE_TYPE_AUTH_INVALID: Advice(
            f.AUDIENCE_OPERATOR, "Correct the credentials with SchoolService.SetCredentials."
        ),
        f.FAILURE_TYPE_AUTH_REVOKED: Advice(
            f.AUDIENCE_SCHOOL,
            "Ask the school to give access again in its MIS. Nothing was deleted, and schedules wait.",
        ),
        f.FAILURE_TYPE_PERMISSION: Advice(
            f.AUDIENCE_SCHOOL, "Ask the school to grant what is missing to the application in its MIS."
        ),
        f.FAILURE_TYPE_SCHEMA: Advice(
            f.AUDIENCE_CONNECTOR_AUTHOR,
            "Compare the MIS's answer with what the connector expects; it may need a new version.",
        ),
        f.FAILURE_TYPE_INCOMPLETE: Advice(
            f.AUDIENCE_OPERATOR,
            "Nothing was deleted. Run again; if it persists, compare the row counts with the MIS.",
        ),
        f.FAILURE_TYPE_HELD: Advice(
            f.AUDIENCE_OPERATOR,
            "None of it was applied. Compare with the MIS, then approve or discard exactly this change set: "
            "SyncService.ListHolds shows it, SyncService.ResolveHold takes the decision.",
        ),
        f.FAILURE_TYPE_UNSUPPORTED: Advice(
            f.AUDIENCE_OPERATOR, "Leave the dataset out, or change the connector's settings."
        ),
        f.FAILURE_TYPE_INTERNAL: Advice(
            f.AUDIENCE_CONNECTOR_AUTHOR, "Report the defect with the place named here."
        ),
    }
)
"""One row per type of failure."""

_BY_PARTY: MappingProxyType[tuple[f.FailureType.ValueType, f.CredentialParty.ValueType], Advice] = (
    MappingProxyType(
        {
            (f.FAILURE_TYPE_AUTH_EXPIRED, f.CREDENTIAL_PARTY_PARTNER): Advice(
                f.AUDIENCE_OPERATOR,
                "Renew the partner application's secret at the MIS's vendor and set it with "
                "SchoolService.SetCredentials; the school cannot help.",
            ),
            (f.FAILURE_TYPE_AUTH_EXPIRED, f.CREDENTIAL_PARTY_SCHOOL): Advice(
                f.AUDIENCE_SCHOOL,
                "Ask the school to renew the account or token that it gave, and set it with "
                "SchoolService.SetCredentials.",
            ),
            (f.FAILURE_TYPE_AUTH_INVALID, f.CREDENTIAL_PARTY_PARTNER): Advice(
                f.AUDIENCE_OPERATOR,
                "Correct the partner application's id and secret with SchoolService.SetCredentials; the "
                "school cannot help, and other schools that the application reads are concerned as well.",
            ),
            (f.FAILURE_TYPE_AUTH_INVALID, f.CREDENTIAL_PARTY_SCHOOL): Advice(
                f.AUDIENCE_SCHOOL,
                "Ask the school which account or token, and which school number, its MIS accepts, and set "
                "them with SchoolService.SetCredentials.",
            ),
            (f.FAILURE_TYPE_AUTH_REVOKED, f.CREDENTIAL_PARTY_PARTNER): Advice(
                f.AUDIENCE_OPERATOR,
                "Ask the MIS's vendor why the partner's access was withdrawn; the school cannot help.",
            ),
            (f.FAILURE_TYPE_AUTH_REVOKED, f.CREDENTIAL_PARTY_SCHOOL): Advice(
                f.AUDIENCE_SCHOOL,
                "Ask the school to approve the application again in its MIS. Nothing was deleted, and "
                "schedules wait.",
            ),
        }
    )
)
"""What is more exact where the MIS lets it be known whose credentials it refuses."""

_PARTIES = MappingProxyType(
    {Identity.PARTNER: f.CREDENTIAL_PARTY_PARTNER, Identity.SCHOOL: f.CREDENTIAL_PARTY_SCHOOL}
)


def party_of(identity: object) -> f.CredentialParty.ValueType:
    """Return whose credentials a connector means; it may be wrong in what it says."""
    return _PARTIES[identity] if isinstance(identity, Identity) else f.CREDENTIAL_PARTY_UNSPECIFIED


def failure(
    failure_type: f.FailureType.ValueType,
    message: str,
    *,
    entity: str | None = None,
    connector: str | None = None,
    audience: f.Audience.ValueType | None = None,
    party: f.CredentialParty.ValueType = f.CREDENTIAL_PARTY_UNSPECIFIED,
) -> f.Failure:
    """Return the failure with the advice that belongs to its type, and to whose credentials it is about."""
    advice = _BY_PARTY.get((failure_type, party), ADVICE[failure_type])
    if failure_type == f.FAILURE_TYPE_PERMISSION and entity:
        advice = advice._replace(remediation=_ASK_TO_GRANT.format(entity=entity))
    return f.Failure(
        type=failure_type,
        message=message,
        audience=advice.audience if audience is None else audience,
        remediation=advice.remediation,
        entity=entity,
        connector=connector,
        party=party,
    )


def from_connector(error: ConnectorError, connector: str, secrets: Iterable[str] = ()) -> f.Failure:
    """Return the failure for an error that a connector raised on purpose.

    Its texts should hold no secret; ``secrets`` are taken out of them all the same (G16).
    """
    # The longest first: one that begins another would leave the other's rest.
    known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    entity = _text(error.entity)
    result = failure(
        _type_of(error),
        _without(_text(error.message) or type(error).__name__, known)[:LONGEST_MESSAGE],
        entity=None if entity is None else _without(entity, known)[:LONGEST_ENTITY],
        connector=connector,
        party=party_of(getattr(error, "identity", None)),
    )
    until = _moment(error.until) if isinstance(error, RateLimited | CircuitOpen) else None
    if until is not None:
        result.retry_at.CopyFrom(until)
    return result


def _text(said: object) -> str | None:
    """Return what a stranger said, if it is text as its type promises."""
    return said if isinstance(said, str) else None


def _type_of(error: ConnectorError) -> f.FailureType.ValueType:
    """Return the type of a stranger's error; one derived from the base alone has none."""
    stated = getattr(error, "failure_type", f.FAILURE_TYPE_INTERNAL)
    return next((known for known in ADVICE if known == stated), f.FAILURE_TYPE_INTERNAL)


def _moment(when: object) -> Timestamp | None:
    """Return ``when``; ``None`` for what has no time zone or lies beyond what a timestamp holds."""
    moment = Timestamp()
    try:
        if not isinstance(when, datetime) or when.utcoffset() is None:
            return None
        moment.FromDatetime(when)
    except (OverflowError, ValueError):
        return None
    return moment


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return text


def place_of(error: BaseException) -> str:
    """Return the type of ``error`` and the module and line that raised it, and nothing of its text.

    The text of a stranger's exception may quote a response, and with it pupils' data or secrets (G16).
    """
    frames = traceback.extract_tb(error.__traceback__)
    name = type(error).__name__[:LONGEST_ENTITY]
    if not frames:
        return name
    last = frames[-1]
    return f"{name} at {last.filename.rsplit('/', 1)[-1]}:{last.lineno} in {last.name}"


def from_defect(error: BaseException, connector: str | None) -> f.Failure:
    """Return the failure for an exception that nobody raised on purpose."""
    audience = f.AUDIENCE_CONNECTOR_AUTHOR if connector else f.AUDIENCE_OPERATOR
    what = f"connector {connector!r} failed" if connector else "schoolgate failed"
    return failure(
        f.FAILURE_TYPE_INTERNAL, f"{what}: {place_of(error)}", connector=connector, audience=audience
    )
