"""From rows to the XML of a .NET DataSet: a schema, then a diffgram whose columns leave nulls out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Final
from xml.sax.saxutils import escape

from schoolgate_bromcom.simulator.entities import Entity, View

_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(?:\.\d+)?", re.ASCII)
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What XML 1.0 cannot say."""

ENVELOPE: Final = (
    (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body>'
    ),
    "</soap:Body></soap:Envelope>",
)


def xsd_types(entity: Entity, view: View, names: Iterable[str]) -> dict[str, str]:
    """Return the types that columns of a database would have for the entity's rows.

    ``names`` are the columns as they are spelled in the rows; a column that is null throughout is text.
    """
    types: dict[str, str] = {}
    for row in entity.rows(view):
        for name, value in row.items():
            if value is not None:
                types.setdefault(name.lower(), _type_of(value))
        if len(types) == len(row):
            break
    return {name: types.get(name.lower(), "string") for name in names}


def _type_of(value: object) -> str:
    # A flag that the Partner API writes as Yes or No is text here too; dates and times are one type to the
    # database. A bool is an int, hence the order.
    for python_type, name in ((bool, "boolean"), (int, "int"), (float, "double"), (str, "string")):
        if isinstance(value, python_type):
            return name
    return "dateTime"


def response(operation: str, inner: str) -> tuple[str, str]:
    """Return what is before and after ``inner``, the result of ``operation``, in two texts."""
    before, after = ENVELOPE
    return (
        f'{before}<{operation}Response xmlns="http://tempuri.org/"><{operation}Result>{inner}',
        f"</{operation}Result></{operation}Response>{after}",
    )


def schema(columns: Mapping[str, str]) -> str:
    """Return a DataSet's schema for a table of ``columns``, whose types are given by name."""
    declared = "".join(
        f'<xs:element name="{name}" type="xs:{kind}" minOccurs="0" />' for name, kind in columns.items()
    )
    return (
        '<xs:schema id="NewDataSet" xmlns="" xmlns:xs="http://www.w3.org/2001/XMLSchema"'
        ' xmlns:msdata="urn:schemas-microsoft-com:xml-msdata">'
        '<xs:element name="NewDataSet" msdata:IsDataSet="true" msdata:UseCurrentLocale="true">'
        '<xs:complexType><xs:choice minOccurs="0" maxOccurs="unbounded"><xs:element name="Table">'
        f"<xs:complexType><xs:sequence>{declared}</xs:sequence></xs:complexType></xs:element></xs:choice>"
        "</xs:complexType></xs:element></xs:schema>"
    )


def table(rows: Iterable[Mapping[str, object]], types: Mapping[str, str]) -> Iterator[str]:
    """Yield the diffgram with ``rows`` in pieces; without rows it has no NewDataSet."""
    yield (
        '<diffgr:diffgram xmlns:msdata="urn:schemas-microsoft-com:xml-msdata"'
        ' xmlns:diffgr="urn:schemas-microsoft-com:xml-diffgram-v1">'
    )
    number = 0
    for number, row in enumerate(rows, 1):
        if number == 1:
            yield '<NewDataSet xmlns="">'
        values = "".join(_value(name, value, types) for name, value in row.items())
        yield f'<Table diffgr:id="Table{number}" msdata:rowOrder="{number - 1}">{values}</Table>'
    if number:
        yield "</NewDataSet>"
    yield "</diffgr:diffgram>"


def _value(name: str, value: object, types: Mapping[str, str]) -> str:
    kind = types.get(name, "string")
    if value is None:
        return ""
    if kind == "dateTime":
        match = _MOMENT.fullmatch(str(value))
        if match is None:
            return ""  # a stand-in that no date column could hold
        return f"<{name}>{value}{_offset(date.fromisoformat(match.group(1)))}</{name}>"
    if isinstance(value, bool):
        return f"<{name}>{str(value).lower()}</{name}>"
    return f"<{name}>{escape(_CONTROL.sub('', str(value)))}</{name}>"


def _offset(day: date) -> str:
    """Return the offset that a server in England writes: summer time holds from the last Sunday of March to
    that of October.
    """
    first, end = (_last_sunday(day.year, month) for month in (3, 10))
    return "+01:00" if first < day <= end else "+00:00"


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)
