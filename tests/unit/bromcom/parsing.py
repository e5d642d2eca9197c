"""Runs a parser as the server does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from schoolgate_sdk import Parsed, Parser, Row, RowRejected

NO_SETTINGS: Mapping[str, str] = {"person_id_is_student_id": "no"}


def parse(parser: Parser, row: Row, settings: Mapping[str, str] = NO_SETTINGS) -> list[Parsed]:
    return list(parser(row, settings))


def rejected(parser: Parser, row: Row) -> RowRejected:
    with pytest.raises(RowRejected) as caught:
        parse(parser, row)
    return caught.value
