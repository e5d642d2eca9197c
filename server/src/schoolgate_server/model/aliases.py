"""Aliases: source keys that stand for a record whose id was minted from another key."""

from __future__ import annotations

from typing import NamedTuple

from schoolgate.v1.kind_pb2 import Kind


class Alias(NamedTuple):
    """A key of a record beside the one that its id was minted from.

    ``key`` is encoded. ``link`` is true where the key came to the record by a decision about identity (a new
    number, a merge, a change of MIS) rather than with the record's own row: the keys of such a record are
    kept whatever its rows say.
    """

    kind: Kind.ValueType
    key: str
    record_id: str
    link: bool = False
