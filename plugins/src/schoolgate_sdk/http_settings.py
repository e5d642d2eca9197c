"""Settings of connectors that ask their MIS over HTTP, the same for all. Needs ``schoolgate-sdk[http]``."""

from __future__ import annotations

from collections.abc import Mapping

from schoolgate_sdk import setting_values
from schoolgate_sdk.connector import FieldSpec
from schoolgate_sdk.errors import Identity
from schoolgate_sdk.http import HttpOptions
from schoolgate_sdk.traffic import PausesFor


def plain_http_setting(secret: str) -> FieldSpec:
    """Return the setting that accepts an ``http`` base_url; ``secret`` is what the network would then see."""
    return FieldSpec(
        "plain_http",
        f'"yes" sends the {secret} unencrypted to an http base_url beyond this machine; for test networks',
        default="no",
        endpoint=True,
        scope=False,
    )


def http_settings(mis: str, *, timeout: int, max_response_mib: int, size: str = "") -> tuple[FieldSpec, ...]:
    """Return the settings that :func:`http_options` reads, with the connector's own defaults.

    ``size`` says after a semicolon what is known of the size of answers.
    """
    largest = "largest answer that is read, in MiB after decompression"
    return (
        FieldSpec(
            "request_timeout_seconds",
            "longest time for one request, its answer included",
            default=str(timeout),
            scope=False,
        ),
        FieldSpec(
            "read_attempts", "how often a read is tried before it is given up", default="5", scope=False
        ),
        FieldSpec(
            "retry_wait_seconds",
            "upper bound of the first wait between attempts; it doubles",
            default="1",
            scope=False,
        ),
        FieldSpec(
            "pauses_for",
            f"whom {mis} means when it asks for a pause (HTTP 429), which is not known: "
            '"host", everybody who asks there, or "school"',
            default="host",
            scope=False,
        ),
        FieldSpec(
            "max_response_mib",
            f"{largest}; {size}" if size else largest,
            default=str(max_response_mib),
            scope=False,
        ),
    )


def http_options(
    mis: str, values: Mapping[str, str], *, identity: Identity, most_response_mib: int
) -> HttpOptions:
    """Return how ``mis`` is asked under the settings ``values``, defaults filled in.

    Raises:
        Unsupported: a setting is malformed or out of range; the message names it.
    """
    return HttpOptions(
        mis,
        timeout=setting_values.seconds(values, "request_timeout_seconds", 3600),
        read_attempts=setting_values.integer(values, "read_attempts", 1, 20),
        retry_wait=setting_values.seconds(values, "retry_wait_seconds", 60),
        max_bytes=setting_values.integer(values, "max_response_mib", 1, most_response_mib) << 20,
        pauses_for=PausesFor(setting_values.choice(values, "pauses_for", "host", "school")),
        identity=identity,
    )
