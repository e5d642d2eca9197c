"""The local master key of the credential vault: where it comes from, and how a new one is made."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from pathlib import Path

from schoolgate_server.settings import VaultSettings

KEY_BYTES = 96
"""Length of a local master key, fixed by MongoDB's client-side field level encryption."""

_HOW = (
    "set vault.key_file to a file with 96 random bytes (`head -c 96 /dev/urandom > vault.key`), "
    "or vault.key to the same in base64, or vault.provider to a KMS"
)


class VaultKeyInvalid(ValueError):
    """There is no usable master key; the text says what to set, and nothing of the key."""


def local_key(settings: VaultSettings, fallback: Path | None, random_bytes: Callable[[int], bytes]) -> bytes:
    """Return the local master key.

    ``fallback`` is the file that is read, and made on the first start, where no key is configured; ``None``
    where one must be.

    Raises:
        VaultKeyInvalid: no key is configured, it cannot be read, or it has not 96 bytes.
    """
    if settings.key is not None:
        return _decoded(settings.key.get_secret_value().encode(), "vault.key")
    path = settings.key_file
    if path is None:
        if fallback is None:
            raise VaultKeyInvalid(f"the vault that protects MIS credentials has no key: {_HOW}")
        path = fallback
        if not path.exists():
            _make(path, random_bytes(KEY_BYTES))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VaultKeyInvalid(f"vault key file {path} cannot be read: {error.strerror}") from None
    return content if len(content) == KEY_BYTES else _decoded(content, f"vault key file {path}")


def _decoded(text: bytes, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultKeyInvalid(f"{what} does not hold 96 bytes, as they are or in base64: {_HOW}")
    return key


def _make(path: Path, key: bytes) -> None:
    """Write a new key for its owner alone; whole or not at all, so that a crash leaves no half of one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
