"""What a connector author imports.

A connector is a distribution that names a module under the entry point group ``schoolgate.connectors``;
the module implements one hook, :func:`schoolgate_sdk.hooks.schoolgate_connector`, which returns a frozen
:class:`Connector`. Everything that the server knows about a MIS comes through that description.

This package imports nothing of the server, does no I/O and logs through the standard library.
"""

from schoolgate_sdk.connector import (
    Connector,
    Dataset,
    FieldSpec,
    KindSpec,
    SchoolConnection,
    Session,
)
from schoolgate_sdk.errors import (
    AuthExpired,
    AuthInvalid,
    AuthRevoked,
    CircuitOpen,
    ConnectorError,
    CursorExpired,
    EntityDenied,
    Identity,
    Incomplete,
    RateLimited,
    SchemaChanged,
    Transient,
    Unsupported,
)
from schoolgate_sdk.hooks import HOOK_NAMESPACE, hookimpl
from schoolgate_sdk.keys import KeyPart, SourceKey, decode_key, encode_key, source_key
from schoolgate_sdk.kinds import KINDS, KindInfo, kind_info
from schoolgate_sdk.parsing import LeftOut, Parsed, Parser, Ref, Row, RowRejected, rows_among
from schoolgate_sdk.reading import (
    ChangedRows,
    CountRows,
    EndOfSnapshot,
    EntityGrantState,
    Grants,
    Page,
    ProbeSurfaces,
    ReadBack,
    ReadChanges,
    ReadRows,
    Scope,
    SurfaceProbe,
)
from schoolgate_sdk.writing import (
    FindWrite,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteRows,
    WriteSafety,
    WriteValue,
    written_moment,
)

__all__ = [
    "HOOK_NAMESPACE",
    "KINDS",
    "AuthExpired",
    "AuthInvalid",
    "AuthRevoked",
    "ChangedRows",
    "CircuitOpen",
    "Connector",
    "ConnectorError",
    "CountRows",
    "CursorExpired",
    "Dataset",
    "EndOfSnapshot",
    "EntityDenied",
    "EntityGrantState",
    "FieldSpec",
    "FindWrite",
    "Grants",
    "Identity",
    "Incomplete",
    "KeyPart",
    "KindInfo",
    "KindSpec",
    "LeftOut",
    "Page",
    "Parsed",
    "Parser",
    "ProbeSurfaces",
    "RateLimited",
    "ReadBack",
    "ReadChanges",
    "ReadRows",
    "Ref",
    "Row",
    "RowRejected",
    "SchemaChanged",
    "SchoolConnection",
    "Scope",
    "Session",
    "SourceKey",
    "SurfaceProbe",
    "Transient",
    "Unsupported",
    "WriteOperation",
    "WriteReceipt",
    "WriteRequest",
    "WriteRows",
    "WriteSafety",
    "WriteValue",
    "decode_key",
    "encode_key",
    "hookimpl",
    "kind_info",
    "rows_among",
    "source_key",
    "written_moment",
]
