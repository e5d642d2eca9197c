"""Checks of single settings: each returns the typed value, or says which setting is wrong and how."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from schoolgate_sdk.addresses import is_loopback
from schoolgate_sdk.errors import Unsupported


def address(values: Mapping[str, str], name: str, *, plain_http: bool) -> str:
    """Return an address to which credentials may be sent, without a slash at its end.

    Raises:
        Unsupported: it is none, or the network would see the credentials, which ``plain_http`` accepts.
    """
    value = values[name]
    wrong = Unsupported(f"setting {name} must be an http or https address without query or user name")
    try:
        parts = urlsplit(value)
        host = parts.hostname if parts.scheme in {"https", "http"} and parts.port != 0 else None
        (host or "").encode("idna")  # as it is looked up by
    except ValueError as error:
        raise wrong from error
    if not host or parts.query or parts.fragment or parts.username or parts.password:
        raise wrong
    if parts.scheme == "http" and not plain_http and not is_loopback(host):
        raise Unsupported(
            f"setting {name} must be an https address: over http the network sees the credentials; on a "
            'test network, setting plain_http "yes" accepts that'
        )
    return value.rstrip("/")


def integer(values: Mapping[str, str], name: str, least: int, most: int) -> int:
    """Return an integer between the bounds; raises ``Unsupported``."""
    value = values[name]
    if not (value.isascii() and value.isdigit() and len(value) <= 12 and least <= int(value) <= most):
        raise Unsupported(f"setting {name} must be an integer from {least} to {most}")
    return int(value)


def seconds(values: Mapping[str, str], name: str, most: float) -> float:
    """Return a time above zero; raises ``Unsupported``."""
    try:
        found = float(values[name])
    except ValueError:
        found = -1.0
    if not 0 < found <= most:
        raise Unsupported(f"setting {name} must be a number of seconds above 0, at most {most}")
    return found


def choice(values: Mapping[str, str], name: str, *choices: str) -> str:
    """Return one of ``choices``; raises ``Unsupported``."""
    if values[name] not in choices:
        raise Unsupported(f"setting {name} must be " + " or ".join(f'"{each}"' for each in choices))
    return values[name]
