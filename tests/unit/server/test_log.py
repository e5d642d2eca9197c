from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest
from loguru import logger

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate_sdk import Transient
from schoolgate_server.log import (
    FromStdlib,
    Redactor,
    configure_logging,
    describe_error,
    loop_exception_handler,
)
from schoolgate_server.model.errors import ServiceError

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def stream(redactor: Redactor) -> Generator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(redactor, level="DEBUG", stream=stream)
    yield stream
    logger.remove()
    logger.add(sys.stderr)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_its_context(lines: Lines) -> None:
    with logger.contextualize(correlation_id="c-1", school_id="oak", run_id="run_1"):
        logger.info("run begins", pages=3)
    [line] = lines()
    assert line["message"] == "run begins"
    assert (line["level"], line["pages"]) == ("INFO", 3)
    assert (line["correlation_id"], line["school_id"], line["run_id"]) == ("c-1", "oak", "run_1")
    assert line["time"].endswith("+00:00")


def test_the_standard_library_ends_in_the_same_place(lines: Lines) -> None:
    with logger.contextualize(correlation_id="c-2"):
        logging.getLogger("schoolgate_bromcom").warning("slow page %d of %s", 3, "Students")
    [line] = lines()
    assert (line["logger"], line["message"]) == ("schoolgate_bromcom", "slow page 3 of Students")
    assert line["correlation_id"] == "c-2"


def test_g16_known_secrets_are_blacked_out_everywhere(lines: Lines, redactor: Redactor) -> None:
    secret = "p@ss word/1"
    redactor.remember([secret, "short"])
    logger.bind(field=f"x{secret}x", nested={"a": [secret]}).info("secret {}", secret)
    logging.getLogger("x").error("quoted as p%%40ss%%20word%%2F1 by %s", "nobody")
    logger.info("Authorization: Bearer abc.def and mongodb://user:pw@db1,db2/x, not so short")
    text = json.dumps(lines())
    for hidden in (secret, "p%40ss%20word%2F1", "abc.def", "user:pw"):
        assert hidden not in text
    assert text.count("[redacted]") == 6
    assert "not so short" in text, "five characters are too few to be blacked out"


def fail_with_names() -> None:
    row = {"surname": "Featherstonehaugh"}
    raise ValueError(f"bad row {row}")


def test_g16_a_strangers_exception_is_shown_by_type_and_place(lines: Lines) -> None:
    try:
        try:
            fail_with_names()
        except ValueError as error:
            raise RuntimeError("while reading Featherstonehaugh") from error
    except RuntimeError as error:
        logger.opt(exception=True).error("broken")
        logging.getLogger("x").exception("broken: %s", error)  # noqa: TRY401 - the very thing to be hidden
        logging.getLogger("x").warning(error)
        logger.bind(error=error).error("bound")
    text = json.dumps(lines())
    assert "Featherstonehaugh" not in text
    chain = lines()[0]["exception"]
    assert [part["error"] for part in chain] == ["RuntimeError", "ValueError"]
    assert any("fail_with_names" in place for place in chain[1]["at"])
    assert lines()[1]["message"] == "broken: RuntimeError"


def test_our_own_errors_keep_their_words() -> None:
    assert describe_error(Transient("HTTP 503"))[0]["error"] == "Transient: HTTP 503"
    error = ServiceError(r.ERROR_REASON_RUN_NOT_FOUND, "no such run")
    assert describe_error(error)[0]["error"] == "ServiceError: no such run"
    group = ExceptionGroup("x", [Transient("one"), ValueError("secret")])
    assert [part["error"] for part in describe_error(group)] == [
        "ExceptionGroup",
        "Transient: one",
        "ValueError",
    ]


async def test_g16_what_nobody_awaited_is_logged_without_its_text(lines: Lines) -> None:
    loop = asyncio.get_running_loop()
    context = {
        "message": "Task exception was never retrieved\nfuture: <Task ValueError('Featherstonehaugh')>",
        "exception": ValueError("Featherstonehaugh"),
    }
    loop_exception_handler(loop, context)
    logging.getLogger("asyncio").error(context["message"])
    first, second = lines()
    assert first["message"] == second["message"] == "Task exception was never retrieved"
    assert first["exception"][0]["error"] == "ValueError"
    assert "Featherstonehaugh" not in json.dumps(lines())


def test_the_driver_does_not_show_documents(lines: Lines) -> None:
    logging.getLogger("pymongo.command").debug("Command started: %s", {"surname": "Featherstonehaugh"})
    assert lines() == []


def test_arguments_that_do_not_fit_are_not_shown(lines: Lines) -> None:
    # Past pytest's own handler, which would raise.
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "%d rows", ("Featherstonehaugh",), None)
    FromStdlib().emit(record)
    [line] = lines()
    assert line["message"] == "%d rows (its arguments do not fit)"


def test_strangers_are_shown_by_their_type(lines: Lines) -> None:
    logger.bind(thing=object(), names={"a"}).info("x")
    [line] = lines()
    assert (line["thing"], line["names"]) == ("object", ["a"])


def test_text_is_for_people(redactor: Redactor) -> None:
    stream = io.StringIO()
    configure_logging(redactor, json=False, stream=stream)
    logger.bind(school_id="oak").info("run begins")
    logger.remove()
    logger.add(sys.stderr)
    assert "INFO    run begins" in stream.getvalue()
    assert "school_id=oak" in stream.getvalue()
