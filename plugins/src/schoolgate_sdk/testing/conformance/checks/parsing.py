"""Parsers are pure, deterministic and refuse in words; keys are structural and stable."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from schoolgate_sdk.connector import Dataset
from schoolgate_sdk.keys import SourceKey, check_key, encode_key
from schoolgate_sdk.kinds import KINDS
from schoolgate_sdk.parsing import Parsed, Row, RowRejected
from schoolgate_sdk.testing.conformance.bench import Bench, Stage, parsed_of
from schoolgate_sdk.testing.conformance.comparing import Key
from schoolgate_sdk.testing.conformance.editing import EDITS
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable
from schoolgate_sdk.testing.conformance.watching import watched

_ROWS_TRIED: Final = 6
"""Rows of each dataset that are spoiled, column by column."""

_JUNK: Final[tuple[Any, ...]] = (
    *(None, "", " ", "x" * 3_000, "\x00", "1900-01-01T00:00:00", -1, 0, 1 << 70, 1.5),
    *(True, [], {}, [1], {"a": 1}, [[]], "31/02/2026"),
    *(["1e400"], float("inf"), float("nan")),
)
"""What stands in a column of a MIS that is unwell; the last three are what decoders make of a number that is
too large, ``decode_json`` and others.
"""


def _parse(dataset: Dataset, row: Row, settings: Mapping[str, str]) -> list[Parsed] | str:
    """Return what the parser yields, or the text of its refusal."""
    try:
        return parsed_of(dataset, row, settings)
    except RowRejected as rejected:
        return str(rejected)


async def _rows(bench: Bench) -> tuple[Stage, dict[str, list[Row]]]:
    """Return some rows of every dataset, as they came."""
    stage, _, _ = await bench.well()
    return stage, {name: reading.rows for name, reading in stage.readings.items()}


async def _pure(bench: Bench) -> str:
    stage, rows = await _rows(bench)
    asked: dict[str, list[str]] = {}
    for dataset in bench.connector.datasets:
        sample = rows[dataset.name][:200]
        for parser in (dataset.at_version(version) for version in dataset.parser_versions):
            for row in sample:  # what is looked up once, on the first call, is not the parser's
                _parse(parser, row, stage.settings)
            with watched() as seen:
                for row in sample:
                    _parse(parser, row, stage.settings)
            if seen():
                asked[f"{dataset.name} version {parser.parser_version}"] = seen()
    if asked:
        name, what = next(iter(asked.items()))
        raise CheckFailed(
            f"the parser of {name} asked for {' and '.join(what)}",
            "compute from the row and the settings alone; do everything else in the session's read",
        )
    return f"{sum(len(found) for found in rows.values())} rows"


async def _deterministic(bench: Bench) -> str:
    stage, rows = await _rows(bench)
    total = 0
    for dataset in bench.connector.datasets:
        sample = rows[dataset.name][:300]
        untouched = copy.deepcopy(sample)
        first = [_parse(dataset, row, stage.settings) for row in sample]
        again = [_parse(dataset, row, stage.settings) for row in reversed(sample)][::-1]
        alone = [_parse(dataset, row, stage.settings) for row in copy.deepcopy(sample)]
        total += len(sample)
        if not first == again == alone:
            raise CheckFailed(
                f"the parser of {dataset.name} yields something else for the same row the second time",
                "keep nothing from row to row; yield in a fixed order, not in that of a set",
            )
        if sample != untouched:
            raise CheckFailed(
                f"the parser of {dataset.name} changes the row that it is given", "leave the row as it is"
            )
    return f"{total} rows, forwards, backwards and copied"


def _spoiled(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the row with each column missing, and with junk in it."""
    for column in row:
        yield column, {name: value for name, value in row.items() if name != column}
        for junk in _JUNK:
            yield column, {**row, column: junk}
    yield "every column", {}


async def _refuses(bench: Bench) -> str:
    stage, rows = await _rows(bench)
    tried = refused = 0
    for dataset in bench.connector.datasets:
        for row in rows[dataset.name][:: max(1, len(rows[dataset.name]) // _ROWS_TRIED)][:_ROWS_TRIED]:
            for column, spoiled in _spoiled(row):
                tried += 1
                refused += _survives(dataset, column, spoiled, row, stage.settings)
    if not tried:
        raise NotApplicable("no rows came")
    return f"{tried} spoiled rows: {refused} refused with a reason, the others taken over"


def _survives(dataset: Dataset, column: str, spoiled: Row, honest: Row, settings: Mapping[str, str]) -> bool:
    """Say whether a spoiled row is refused; raises ``CheckFailed`` where the parser breaks or is silent."""
    try:
        found = parsed_of(dataset, spoiled, settings)
    except RowRejected as rejected:
        _check_refusal(dataset, rejected, spoiled.get(column))
        return True
    except CheckFailed:
        raise
    except Exception as error:
        raise CheckFailed(
            f"the parser of {dataset.name} raises {type(error).__name__} for {column} being "
            f"{_shown(spoiled, column)}",
            "raise RowRejected with a reason, the field at fault and no value",
        ) from error
    for parsed in found:
        _check_parsed(dataset, parsed, f"for {column} being {_shown(spoiled, column)}")
    garbage = isinstance(spoiled.get(column), list | dict) and spoiled[column] and column in honest
    if garbage and not isinstance(honest[column], list | dict | None) and not found:
        raise CheckFailed(
            f"the parser of {dataset.name} yields nothing, and says nothing, for {column} being "
            f"{_shown(spoiled, column)}",
            "refuse what cannot be understood with RowRejected, so that a decision is recorded",
        )
    return False


def _shown(row: Row, column: str) -> str:
    return repr(row[column])[:40] if column in row else "missing"


def _check_refusal(dataset: Dataset, rejected: RowRejected, value: object) -> None:
    problem = None
    if not rejected.detail or not rejected.reason:
        problem = "gives no reason"
    elif isinstance(value, str) and len(value) > 8 and value in str(rejected):
        problem = "quotes the value"
    if problem:
        raise CheckFailed(
            f"a refusal of the parser of {dataset.name} {problem}",
            "RowRejected(reason, field, detail): one sentence without values",
        )


def _check_parsed(dataset: Dataset, parsed: Parsed, when: str) -> None:
    """Raise ``CheckFailed`` where a message is not declared, or has fields that are the server's."""
    spaces = {spec.kind: spec.namespace for spec in dataset.kinds}
    problem = None
    if parsed.kind not in spaces:
        problem = "yields a kind that it does not declare"
    elif not isinstance(parsed.message, KINDS[parsed.kind].message):
        problem = f"yields a {type(parsed.message).__name__} as {KINDS[parsed.kind].name}"
    elif parsed.key.namespace != spaces[parsed.kind]:
        problem = f"yields a key in {parsed.key.namespace}, and declares {spaces[parsed.kind]}"
    else:
        problem = _wrong_key(parsed) or _servers_field(parsed)
    if problem:
        raise CheckFailed(
            f"the parser of {dataset.name} {problem} {when}".rstrip(),
            "correct the parser, or the dataset's KindSpec",
        )


def _wrong_key(parsed: Parsed) -> str | None:
    keys = (parsed.key, *parsed.other_keys, *parsed.former_keys, *(ref.key for ref in parsed.refs))
    for key in keys:
        try:
            check_key(SourceKey(*key))
        except (TypeError, ValueError) as error:
            return f"yields a malformed key ({error})"
        if any(isinstance(part, str) and part != part.strip() for part in key.parts):
            return "yields a key with padding in it"
    return None


def _servers_field(parsed: Parsed) -> str | None:
    info = KINDS[parsed.kind]
    names = {*info.references, *info.coded.values()}
    given = [field.name for field, _ in parsed.message.ListFields() if field.name in names]
    if given:
        return f"sets {info.name}.{given[0]}, which is the server's to fill in"
    unknown = [ref.field for ref in parsed.refs if ref.field not in info.references]
    return f"refers by {info.name}.{unknown[0]}, which there is not" if unknown else None


async def _structural(bench: Bench) -> str:
    stage, rows = await _rows(bench)
    count = 0
    for dataset in bench.connector.datasets:
        types: dict[tuple[str, int, int], set[type]] = {}
        for row in rows[dataset.name]:
            found = _parse(dataset, row, stage.settings)
            for parsed in found if isinstance(found, list) else ():
                count += 1
                _check_parsed(dataset, parsed, "")
                _check_not_personal(dataset, parsed)
                for place, part in enumerate(parsed.key.parts):
                    types.setdefault((parsed.key.namespace, len(parsed.key.parts), place), set()).add(
                        type(part)
                    )
        mixed = [space for (space, _, _), seen in types.items() if len(seen) > 1]
        if mixed:
            raise CheckFailed(
                f"keys of {mixed[0]} have a number in one row and a text in another",
                'give each part of a key one type: 1 is not "1"',
            )
    return f"{count} keys"


def _check_not_personal(dataset: Dataset, parsed: Parsed) -> None:
    message: Message = parsed.message
    for name in ("surname", "forename", "email", "upn", "uln"):
        value = getattr(message, name, "")
        if value and len(parsed.key.parts) and value in parsed.key.parts:
            raise CheckFailed(
                f"a key of {dataset.name} is made from {name}",
                "key by what the MIS itself identifies the entity by; names, addresses and UPNs change",
            )


async def _stable(bench: Bench) -> str:
    edits = [edit for edit in EDITS if edit.keeps_keys]
    kept = 0
    async with bench.stage() as stage:
        before = stage.compare(await stage.arrive()).pairs
        for edit in edits:
            edit.happen(stage.world)
        after = stage.compare(await stage.arrive()).pairs
    changed: list[Key] = []
    for key, source_key in before.items():
        if key in after:
            kept += 1
            if after[key] != source_key:
                changed.append(key)
    if changed:
        one = changed[0]
        raise CheckFailed(
            f"{KINDS[one[0]].name} {one[1]!r} had the key {encode_key(before[one])} and has "
            f"{encode_key(after[one])} after edits that change nobody's number",
            "build keys from the MIS's ids alone, not from places in a list or from values that change",
        )
    return f"{kept} keys the same after {len(edits)} edits"


CHECKS: tuple[Check, ...] = (
    Check("parser.pure", "Parsers read no clock, no file, no network, no random number.", _pure),
    Check("parser.deterministic", "The same row yields the same, whatever came before.", _deterministic),
    Check("parser.refuses", "Spoiled rows are refused with a reason or taken over, never fatal.", _refuses),
    Check("keys.structural", "Keys are of declared number spaces, well formed, and no names.", _structural),
    Check("keys.stable", "Keys stay when what they name changes.", _stable),
)
