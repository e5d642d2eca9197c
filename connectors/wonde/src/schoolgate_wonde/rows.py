"""Reading one row field by field, so that what is wrong is said with the field and the row's key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate_sdk import KeyPart, Row, RowRejected, SourceKey
from schoolgate_wonde import fields, values

_T = TypeVar("_T")

DELETIONS: Final = "deletions"
RESOURCE: Final = "_resource"
"""Where the reader notes the resource that a row came from: one parser reads those of several."""


def nested_in(row: Row, name: str) -> list[object] | None:
    """Return what nests in a row under ``name`` as ``{"data": […]}``; ``None`` where nothing does so."""
    holder = row.get(name)
    inner: object = cast("Mapping[str, object]", holder).get("data") if isinstance(holder, dict) else None
    return cast("list[object]", inner) if isinstance(inner, list) else None


class RowReader:
    """One row. Set :attr:`key` as soon as it is known; every method raises :class:`RowRejected` with it."""

    __slots__ = ("_paths", "_row", "key", "resource")

    def __init__(self, row: Row, settings: Mapping[str, str], *resources: str) -> None:
        self.key: SourceKey | None = None
        self._row = row
        found = row.get(RESOURCE, resources[0])
        if found not in resources:
            where, detail = (
                (DELETIONS, "says that something was deleted, and not what")
                if found == DELETIONS
                else (RESOURCE, "is none of the dataset's resources")
            )
            raise RowRejected(diagnostics.DECISION_REASON_VALUE_INVALID, where, detail)
        self.resource: str = found
        self._paths = fields.paths(found, settings)

    def at(self, path: str, read: Callable[[Any], _T]) -> _T:
        """Return what stands at a path as ``read`` understands it; what is not there reads as ``None``."""
        value: Any = self._row
        try:
            for step in path.split("."):
                if value is None:
                    break
                if not isinstance(value, Mapping):
                    raise ValueError("is no object")  # noqa: TRY004 - the row's fault, not the caller's
                value = cast("Mapping[str, Any]", value).get(step)
            return read(value)
        except (TypeError, ValueError) as error:
            # A TypeError's text is Python's own and may quote the value; a ValueError's is ours.
            detail = str(error) if isinstance(error, ValueError) else "is of an unexpected type"
            reason = diagnostics.DECISION_REASON_VALUE_INVALID
            raise RowRejected(reason, path, detail, self.key) from error

    def field(self, name: str, read: Callable[[Any], _T]) -> _T | None:
        """Return the field that the settings know as ``name``; one without a path reads as ``None``."""
        path = self._paths[name]
        return self.at(path, read) if path else None

    def text(self, name: str) -> str | None:
        """Return the text of a field."""
        return self.field(name, values.text)

    def id(self, name: str) -> str | None:
        """Return the id in a field."""
        return self.field(name, values.identifier)

    def key_id(self, path: str = "id") -> str:
        """Return an id without which the row has no key."""
        found = self.at(path, values.identifier)
        if found is None:
            raise self.missing(path)
        return found

    def set_key(self, namespace: str, *parts: KeyPart) -> SourceKey:
        """Set the key and return it."""
        self.key = SourceKey(namespace, parts)
        return self.key

    def missing(self, path: str) -> RowRejected:
        """Return the verdict on a row whose key lacks a part."""
        reason = diagnostics.DECISION_REASON_KEY_MISSING
        return RowRejected(reason, path, "is part of the key and is missing", self.key)
