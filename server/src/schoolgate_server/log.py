"""Logging, configured here and nowhere else: JSON lines on standard error, free of secrets and personal data.

What runs in the server logs through loguru or the standard library alike. Both end here, where

* exceptions are shown by type and place; by their text only if they are our own, whose texts name no data;
* secrets that are known (:class:`Redactor`) are blacked out of whatever text is left.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import quote

import orjson
from loguru import logger

from schoolgate_sdk import ConnectorError
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.errors import StoreError

if TYPE_CHECKING:
    from loguru import Message, Record

_BLACK = "[redacted]"
_SHORTEST_SECRET = 6
_SHAPES = re.compile(r"(?i)(bearer\s+)[\x21-\x7e]+|(mongodb(?:\+srv)?://)[^@/\s]+@")

_OUR_OWN = (ServiceError, ConnectorError, StoreError)
"""Errors whose texts may be logged: their classes promise that they hold no secrets and no personal data."""

_LONGEST_CHAIN = 5
_MOST_FRAMES = 30

_QUIET = ("pymongo", "motor", "grpc", "asyncio", "aiohttp", "urllib3")
"""Loggers that show documents, commands or requests below WARNING."""


class Redactor:
    """Knows the secrets of this process, and blacks them out."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern = _SHAPES

    def remember(self, values: Iterable[str]) -> None:
        """Black out ``values`` from now on; texts of fewer than six characters would black out words."""
        found = {value for value in values if len(value) >= _SHORTEST_SECRET}
        found |= {quote(value, safe="") for value in found}
        if found <= self._secrets:
            return
        self._secrets |= found
        known = "|".join(re.escape(secret) for secret in sorted(self._secrets, key=len, reverse=True))
        self._pattern = re.compile(f"{_SHAPES.pattern}|{known}")

    def clean(self, text: str) -> str:
        """Return ``text`` without secrets."""
        return self._pattern.sub(lambda m: f"{m[1] or m[2] or ''}{_BLACK}", text)


def safe_text(error: BaseException) -> str:
    """Return what may be said of ``error``: its type, and its text if it is one of our own."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, _OUR_OWN) else name


def describe_error(error: BaseException) -> list[dict[str, Any]]:
    """Return ``error`` and what caused it, innermost last: type, our own text, and places in the code."""
    chain: list[dict[str, Any]] = []
    following: BaseException | None = error
    while following is not None and len(chain) < _LONGEST_CHAIN:
        frames = traceback.extract_tb(following.__traceback__)[-_MOST_FRAMES:]
        chain.append(
            {
                "error": safe_text(following),
                "at": [f"{'/'.join(f.filename.split('/')[-2:])}:{f.lineno} {f.name}" for f in frames],
            }
        )
        if isinstance(following, BaseExceptionGroup):
            grouped = cast("BaseExceptionGroup[BaseException]", following)
            for inner in grouped.exceptions[:_LONGEST_CHAIN]:
                chain += describe_error(inner)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return chain


def _entry(record: Record) -> dict[str, Any]:
    """Return what one log line says."""
    extra = dict(record["extra"])
    entry: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "logger": extra.pop("logger", None) or record["name"],
        "message": record["message"],
    }
    entry.update({name: value for name, value in extra.items() if value is not None})
    exception = record["exception"]
    if exception is not None and exception.value is not None:
        entry["exception"] = describe_error(exception.value)
    return entry


def _cleaned(value: object, redactor: Redactor) -> object:
    """Return ``value`` ready for JSON, every text in it without secrets; strangers by their type alone."""
    if isinstance(value, str):
        return redactor.clean(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        return redactor.clean(safe_text(value))
    if isinstance(value, Mapping):
        return _cleaned_fields(cast("Mapping[object, object]", value), redactor)
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(inner, redactor) for inner in cast("Iterable[object]", value)]
    return type(value).__name__


def _cleaned_fields(fields: Mapping[object, object], redactor: Redactor) -> dict[str, Any]:
    return {redactor.clean(str(name)): _cleaned(inner, redactor) for name, inner in fields.items()}


def _as_text(entry: Mapping[str, Any]) -> str:
    """Return an entry for people: time, level, message, then the rest as name=value."""
    rest = " ".join(
        f"{name}={value}"
        for name, value in entry.items()
        if name not in {"time", "level", "message", "exception"}
    )
    lines = [f"{entry['time']} {entry['level']:<7} {entry['message']}  {rest}"]
    for part in entry.get("exception", ()):
        lines.append(f"    {part['error']}")
        lines += [f"        {place}" for place in part["at"]]
    return "\n".join(lines)


class FromStdlib(logging.Handler):
    """Hands records of the standard library's loggers to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        bound = logger.bind(logger=record.name)
        error = record.exc_info[1] if record.exc_info else None
        bound.opt(exception=error).log(_level_of(record), "{}", _message_of(record))


def _level_of(record: logging.LogRecord) -> str | int:
    try:
        return logger.level(record.levelname).name
    except ValueError:
        return record.levelno


def _message_of(record: logging.LogRecord) -> str:
    """Return a record's message, with exceptions among its arguments shown as safely as any other."""
    args = record.args
    if isinstance(args, tuple):
        args = tuple(safe_text(arg) if isinstance(arg, BaseException) else arg for arg in args)
    try:
        message = str(record.msg) % args if args else str(record.msg)
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} (its arguments do not fit)"
    if isinstance(record.msg, BaseException):
        return safe_text(record.msg)
    # asyncio's own messages go on with the repr of a task, and with it the text of its exception.
    return message.partition("\n")[0] if record.name == "asyncio" else message


def loop_exception_handler(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log what nobody awaited; set it with ``loop.set_exception_handler``."""
    error = context.get("exception")
    bound = logger.bind(logger="asyncio")
    bound.opt(exception=error).error("{}", str(context.get("message", "")).partition("\n")[0])


def configure_logging(
    redactor: Redactor, *, level: str = "INFO", json: bool = True, stream: TextIO | None = None
) -> None:
    """Send everything that is logged in this process to ``stream`` (standard error), cleaned."""
    out = stream if stream is not None else sys.stderr

    def write(message: Message) -> None:
        entry = _cleaned_fields(cast("Mapping[object, object]", _entry(message.record)), redactor)
        out.write(f"{orjson.dumps(entry).decode() if json else _as_text(entry)}\n")
        out.flush()

    def no_text(_record: Record) -> str:
        return ""  # the sink makes its own, from the record

    logger.remove()  # noqa: TID251 - this is the one file
    logger.add(write, level=level, format=no_text, backtrace=False, diagnose=False, catch=False)  # noqa: TID251 - likewise
    logging.basicConfig(handlers=[FromStdlib()], level=level, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.captureWarnings(capture=True)
