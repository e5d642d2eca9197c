"""One answer of the SOAP services, parsed while it comes in: rows out, never more than a few of them held.

The parser is the standard library's expat, driven by handlers that refuse a document type as soon as it
begins: without one there are no entities to expand and nothing external to fetch. (``defusedxml`` refuses the
same by the same handlers, but offers no incremental parser of its own for bytes that arrive in pieces, and
has had no stable release since 2021.) Everything else that costs memory has a bound: depth, the length of
names, values and rows, columns of a row, and what a single token may have before it ends. What is odd within
a row, however much of it there is, costs that row alone: it is passed over, and the row has in its place what
the parser refuses it by.

There are no pages over SOAP. What proves the end of a read is the document's: every element closed, nothing
after it. An answer that was cut ends before, and raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat

from schoolgate_bromcom import soap_types
from schoolgate_bromcom.values import TEXT
from schoolgate_sdk import Row, SchemaChanged, Transient

TEMPURI: Final = "http://tempuri.org/"
"""The services' namespace, and the prefix of their SOAPAction."""
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
DIFFGRAM: Final = "urn:schemas-microsoft-com:xml-diffgram-v1"
XSD: Final = "http://www.w3.org/2001/XMLSchema"
_NIL: Final = "http://www.w3.org/2001/XMLSchema-instance nil"

_CHUNK: Final = 1 << 14
"""Bytes parsed at once. With 512 columns per row they are at most some tens of MiB of rows."""
_DEPTH: Final = 24
"""Elements within elements; an answer has eight, its schema some twelve."""
_TOKEN: Final = 1 << 17
"""Bytes of a tag or comment before it ends; expat keeps them all until then."""
_NAME: Final = 256
_NAMES: Final = 1 << 15
"""Names of elements and attributes in one answer, some tens of MiB at most: expat forgets none of them."""
_LONG_NAMES: Final = 1 << 20
"""Characters of those that are longer than ``_NAME``, together."""
_PREFIXES: Final = 100
"""Of namespaces, which it does not forget either; an answer has six."""
_COLUMNS: Final = 512
"""Columns of a row, and of a schema. A row that has more keeps one more than these, by which it is told."""
_VALUE: Final = 1 << 18
"""Characters of one value. Longer text than a quarter of a million is none that a school types."""
_ROW: Final = 1 << 20
"""Characters of one row that are kept. A value that has no room beside those before it is passed over."""
_FAULT: Final = 4096
"""Characters of a fault that are looked at."""

_ROW_DEPTH: Final = 7
_COLUMN_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class SoapFault:
    """A SOAP fault. Its text is looked at and never quoted: it is the server's, and may hold anything."""

    code: str
    text: str


class SoapAnswer:
    """Parses the answer to ``operation``: give it bytes with :meth:`feed`, then :meth:`close` it.

    ``fault`` is set once a fault came; ``has_table`` says that the result is a DataSet, if only an empty one,
    and ``value`` is the text of one that is none.
    """

    def __init__(self, operation: str) -> None:
        self.fault: SoapFault | None = None
        self.has_table = False
        self._response = f"{TEMPURI} {operation}Response"
        self._result = f"{TEMPURI} {operation}Result"
        self._parser = _parser(self)
        self._fed = 0
        self._depth = 0
        self._long_names = 0
        self._prefixes: set[str | None] = set()
        self._skipped_at = 0
        self._rows: list[Row] = []
        self._row: dict[str, Any] = {}
        self._row_size = 0
        self._column: str | None = None
        self._seen: set[str] = set()
        self._text: list[str] | None = None
        self._text_size = 0
        self._is_nil = False
        self._is_unreadable = False
        self._schema = _Schema()
        self._in_schema = False
        self._fault_parts: dict[str, str] | None = None
        self._has_result = self._has_body = False
        self._value: list[str] = []

    @property
    def value(self) -> str | None:
        """The text of a result that is no table; ``None`` for one that has none."""
        return "".join(self._value).strip() or None

    def feed(self, data: bytes) -> list[Row]:
        """Take the next bytes in and return the rows that are complete with them.

        Raises:
            SchemaChanged: a document type, or another shape or larger than any answer has.
            Transient: the text is no well-formed XML.
        """
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            self._parse(part, is_final=False)
            self._fed += len(part)
            if self._fed - max(0, self._parser.CurrentByteIndex) > _TOKEN + _CHUNK:
                raise SchemaChanged("Bromcom's answer has a tag that is longer than any")
            if len(self._parser.intern) > _NAMES:
                raise SchemaChanged("Bromcom's answer has more names than any")
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            Transient: the document has not ended, or it has no result.
            SchemaChanged: it is not the answer to the operation.
        """
        self._parse(b"", is_final=True)
        if self.fault is None and not self._has_result:
            # A method that returns nothing writes no result at all; it is the same as null data.
            if self._has_body:
                raise Transient("Bromcom answered without data")
            raise SchemaChanged("Bromcom's answer is no answer to what was asked")

    def _parse(self, data: bytes, *, is_final: bool) -> None:
        try:
            self._parser.Parse(data, is_final)
        except expat.ExpatError:
            # Not chained: nothing of the document is to get into a log by way of its error.
            what = "ended before its end" if is_final else "is no well-formed XML"
            raise Transient(f"Bromcom's answer {what}") from None

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Handle the beginning of an element."""
        depth = self._depth = self._depth + 1
        if depth > _DEPTH:
            raise SchemaChanged("Bromcom's answer is nested more deeply than any")
        if attributes or len(name) > _NAME:
            self._check_names((name, *attributes), depth)
        if self._skipped_at:
            if self._in_schema:
                self._schema.start(name, attributes, depth)
        elif self._fault_parts is not None:
            self._begin_text()
        elif depth > _COLUMN_DEPTH:
            self._is_unreadable = True
        elif depth == _COLUMN_DEPTH:
            self._begin_column(name, attributes)
        elif depth == _ROW_DEPTH:
            self._begin_row(name)
        else:
            self._frame(name, depth)

    def _check_names(self, names: Iterable[str], depth: int) -> None:
        """Let long names pass within a row, as long as there are not many."""
        long = sum(len(name) for name in names if len(name) > _NAME)
        self._long_names += long
        is_in_row = depth >= _ROW_DEPTH and not self._skipped_at and self._fault_parts is None
        if long and (not is_in_row or self._long_names > _LONG_NAMES):
            raise SchemaChanged("Bromcom's answer has a name that is longer than any")

    def namespace(self, prefix: str | None, _uri: str | None) -> None:
        """Handle the declaration of a namespace."""
        self._prefixes.add(prefix)
        if len(self._prefixes) > _PREFIXES:
            raise SchemaChanged("Bromcom's answer has more prefixes than any")

    def _frame(self, name: str, depth: int) -> None:
        """Handle an element around the rows; what is known to hold none is skipped."""
        match depth:
            case 1 if name == f"{SOAP} Envelope":
                return
            case 2 if name == f"{SOAP} Header":
                self._skipped_at = depth
            case 2 if name == f"{SOAP} Body" and not self._has_body:
                self._has_body = True
            case 3 if name == f"{SOAP} Fault" and not self._has_result:
                self._fault_parts = {}
            case 3 if name == self._response and not self._has_result:
                return
            case 4 if name == self._result and not self._has_result:
                self._has_result = True
                self._text, self._text_size = self._value, 0
            case 5 | 6:
                self._frame_of_table(name, depth)
            case _:
                raise SchemaChanged("Bromcom's answer is not of the known shape")

    def _frame_of_table(self, name: str, depth: int) -> None:
        """Handle an element of a DataSet: its schema, then its diffgram with the rows."""
        self._text = None
        if depth == 5 and name == f"{XSD} schema" and not self.has_table:
            self._skipped_at, self._in_schema = depth, True
        elif depth == 5 and name == f"{DIFFGRAM} diffgram" and not self.has_table:
            self.has_table = True
        elif depth == 6 and name.startswith(f"{DIFFGRAM} "):
            self._skipped_at = depth  # what rows were before a change, and their errors
        elif depth != 6 or name != "NewDataSet" or not self.has_table:
            raise SchemaChanged("Bromcom's answer is not of the known shape")

    def _begin_row(self, name: str) -> None:
        if name != "Table":
            raise SchemaChanged("Bromcom's answer holds another table than Table")
        self._row = dict.fromkeys(self._schema.columns)
        self._row_size = 0
        self._seen.clear()

    def _begin_column(self, name: str, attributes: Mapping[str, str]) -> None:
        column = name.rpartition(" ")[2][:_NAME]
        if len(self._row) > _COLUMNS and column not in self._row:
            self._column, self._is_unreadable = None, True
            return
        self._column = column
        self._is_unreadable = column in self._seen
        self._seen.add(column)
        self._is_nil = attributes.get(_NIL) in {"true", "1"}
        self._begin_text()

    def _begin_text(self) -> None:
        self._text = []
        self._text_size = 0

    def end(self, name: str) -> None:
        """Handle the end of an element."""
        depth, self._depth = self._depth, self._depth - 1
        if self._skipped_at:
            if depth == self._skipped_at:
                self._skipped_at, self._in_schema = 0, False
            elif self._in_schema:
                self._schema.end(depth)
        elif self._fault_parts is not None:
            self._end_of_fault(name, depth)
        elif depth == _COLUMN_DEPTH:
            self._end_of_column()
        elif depth == _ROW_DEPTH:
            self._rows.append(self._row)
        elif depth == 4:
            self._text = None

    def _end_of_column(self) -> None:
        """Take the value in.

        One that is longer than any, has elements in it, comes twice in its row or has no room left there is
        an empty list, as no column's value is: where the parser reads it, it refuses the row by it, and no
        other row pays for it.
        """
        column, text = self._column, self._text
        is_unreadable, self._is_unreadable, self._text = self._is_unreadable, False, None
        if column is None:
            return
        value = None if text is None or is_unreadable else "".join(text)
        if value is None or self._row_size + len(value) > _ROW:
            self._row[column] = []
            return
        self._row_size += len(value)
        convert = self._schema.columns.get(column) or soap_types.of_name(column)
        self._row[column] = None if self._is_nil else convert(value)

    def _end_of_fault(self, name: str, depth: int) -> None:
        parts = self._fault_parts
        assert parts is not None
        if depth == 4 and self._text is not None:
            parts[name.rpartition(" ")[2]] = "".join(self._text)[:_FAULT]
        self._text = None
        if depth == 3:
            self.fault = SoapFault(parts.get("faultcode", "").strip(), parts.get("faultstring", ""))
            self._fault_parts = None

    def characters(self, data: str) -> None:
        """Handle text; expat gives it in pieces of 64 KiB at most."""
        if self._is_unreadable:
            return
        if self._skipped_at or self._text is None:
            self._text_between(data)
            return
        self._text_size += len(data)
        if self._text_size > _VALUE:
            if self._depth == _COLUMN_DEPTH and self._fault_parts is None:
                self._is_unreadable, self._text = True, []
                return
            raise SchemaChanged("Bromcom's answer has a value that is longer than any")
        self._text.append(data)

    def _text_between(self, data: str) -> None:
        """Handle text outside of values, which is space, or was passed over."""
        if self._skipped_at or self._fault_parts is not None or not data.strip():
            return
        if self._depth != _ROW_DEPTH:
            raise SchemaChanged("Bromcom's answer has text where none belongs")
        self._row[TEXT] = []


class _Schema:
    """What the schema in front of the rows says of the columns of ``Table``, in their order."""

    def __init__(self) -> None:
        self.columns: dict[str, soap_types.Convert] = {}
        self._table_at = 0

    def start(self, name: str, attributes: Mapping[str, str], depth: int) -> None:
        if name != f"{XSD} element" or "name" not in attributes:
            return
        if self._table_at:
            self.columns[attributes["name"][:_NAME]] = soap_types.of_type(attributes.get("type", ""))
            if len(self.columns) > _COLUMNS:
                raise SchemaChanged("Bromcom's answer has a schema with more columns than any entity")
        elif attributes["name"] == "Table":
            self._table_at = depth

    def end(self, depth: int) -> None:
        if depth == self._table_at:
            self._table_at = 0


def _parser(answer: SoapAnswer) -> expat.XMLParserType:
    # The encoding is given: what a document declares for itself does not count.
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    parser.StartElementHandler = answer.start
    parser.EndElementHandler = answer.end
    parser.CharacterDataHandler = answer.characters
    parser.StartNamespaceDeclHandler = answer.namespace
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.UnparsedEntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    return parser


def _refuse(*_details: object) -> int:
    raise SchemaChanged("Bromcom's answer has a document type, an entity or an instruction, which none has")
