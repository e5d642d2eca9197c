"""mongomock, faster: the same answers from the same documents, without what only costs time here.

Much of a history's time went into copies that check every leaf's type several times, into locks between
threads that do not exist, and into filters applied to documents that one plain comparison rules out.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import mongomock.collection
import mongomock.filtering
import mongomock.helpers
import mongomock.store
import mongomock.thread

_PLAIN = (str, int, bytes, bool, float, type(None))
_LISTS = (list, tuple)

_collection: Any = mongomock.collection
_helpers: Any = mongomock.helpers
_filtering: Any = mongomock.filtering
_applies: Callable[[Any, Any], bool] = _filtering.filter_applies


def copied(value: Any, container: type[dict[Any, Any]] = dict) -> Any:
    """Return a copy of what BSON can hold; its leaves cannot change and are shared."""
    if isinstance(value, dict):
        document = cast("dict[str, Any]", value)
        return container([(key, copied(each, container)) for key, each in document.items()])
    if isinstance(value, _LISTS):
        return [copied(each, container) for each in cast("list[Any]", value)]
    return value


def _stored(value: Any) -> Any:
    """Moments are stored without a time zone and in milliseconds."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        document = cast("dict[str, Any]", value)
        return type(document)([(key, _stored(each)) for key, each in document.items()])
    if isinstance(value, _LISTS):
        return [_stored(each) for each in cast("list[Any]", value)]
    if isinstance(value, datetime):
        return _patch_moment(value)
    return value


def _aware(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {key: _aware(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, _LISTS):
        return [_aware(each) for each in cast("list[Any]", value)]
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _select(self: Any, search: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Leave out what differs in a plain field before the whole filter is applied."""
    documents = list(self._store.documents)
    if not documents:
        _applies(search, {})  # a filter that is none is an error all the same
    plain = [
        (name, wanted)
        for name, wanted in search.items()
        if type(wanted) in {str, int, bool} and "." not in name and name[0] != "$"
    ]
    for document in documents:
        for name, wanted in plain:
            found = document.get(name)
            if found != wanted and not isinstance(found, _LISTS):
                break
        else:
            same = all(type(document.get(name)) is type(wanted) for name, wanted in plain)
            if (same and len(plain) == len(search)) or _applies(search, document):
                yield document


@contextmanager
def _unlocked(self: Any) -> Generator[None]:
    """One thread takes no turns."""
    yield


def _documents(self: Any) -> list[dict[str, Any]]:
    self._remove_expired_documents()
    return list(self._documents.values())


_patch_moment = _helpers.patch_datetime_awareness_in_document


@functools.cache
def hasten() -> None:
    """Put the faster parts in place, for the whole process."""
    _collection._copy_field = copied
    _collection.copy = SimpleNamespace(copy=copy.copy, deepcopy=copied)
    _collection.Collection._iter_documents = _select
    _collection.version = SimpleNamespace(parse=functools.cache(_collection.version.parse))
    _helpers.patch_datetime_awareness_in_document = _stored
    _helpers.make_datetime_timezone_aware_in_document = _aware
    setattr(mongomock.thread.RWLock, "reader", _unlocked)  # noqa: B010
    setattr(mongomock.thread.RWLock, "writer", _unlocked)  # noqa: B010
    setattr(mongomock.store.CollectionStore, "documents", property(_documents))  # noqa: B010
