"""The frozen description by which a connector presents itself to the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.errors import Identity
from schoolgate_sdk.parsing import Parser
from schoolgate_sdk.reading import ReadRows
from schoolgate_sdk.traffic import Traffic
from schoolgate_sdk.writing import WriteOperation

if TYPE_CHECKING:  # the testing kit is not a server's to import
    from schoolgate_sdk.testing.conformance.target import ConformanceTarget

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Session: TypeAlias = ReadRows
"""What :attr:`Connector.open` yields: a reader that may implement further protocols of ``reading``."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A named text value that a connector needs from the school's registration.

    ``endpoint`` says that credentials are sent to where the value points: when it changes, stored credentials
    are dropped and must be set again, so that whoever may change settings cannot have them sent elsewhere.
    ``scope`` says that a change may change which rows are read; one of a timeout, say, does not.
    ``identity`` says whose a credential is, the partner's or the school's, and whose credentials alone are
    sent to an endpoint.
    """

    name: str
    description: str
    required: bool = False
    default: str = ""
    endpoint: bool = False
    scope: bool = True
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class KindSpec:
    """One kind that a dataset yields, and the number space in which its ids are minted.

    ``windowed_by`` names the date field by which the dataset's window bounds this kind.
    """

    kind: Kind.ValueType
    namespace: str
    windowed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something that the MIS lets us read as a whole.

    ``entities`` are the MIS entities that must be granted; ``parser_version`` changes with every change of
    what the parser yields. ``windowed`` says that a read is bounded by the scope's dates. ``other_parsers``
    are further versions, earlier or later ones, that a school may be held at or promoted to.
    """

    name: str
    kinds: tuple[KindSpec, ...]
    entities: tuple[str, ...]
    parser: Parser
    parser_version: int
    windowed: bool = False
    other_parsers: Mapping[int, Parser] = field(default_factory=dict[int, Parser])

    @property
    def parser_versions(self) -> tuple[int, ...]:
        """Every version that there is, ascending."""
        return tuple(sorted({self.parser_version, *self.other_parsers}))

    def at_version(self, version: int) -> Dataset:
        """Return the dataset with its parser of ``version`` in use; raises ``KeyError`` without one."""
        if version == self.parser_version:
            return self
        others = {self.parser_version: self.parser, **self.other_parsers}
        return replace(self, parser=others.pop(version), parser_version=version, other_parsers=others)


@dataclass(frozen=True, slots=True)
class SchoolConnection:
    """What a connector gets to open a session: validated settings, secrets, the clock.

    ``credentials`` stay out of ``repr``. ``settings`` have their defaults filled in. ``traffic`` is what all
    schools of a process share to be polite to MISs; ``quiet`` says before each request whether this school's
    MIS is to be spared for now. :class:`schoolgate_sdk.http.HttpClient` minds both.
    """

    school_id: str
    settings: Mapping[str, str]
    now: Callable[[], datetime]
    credentials: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    traffic: Traffic = field(repr=False, default_factory=Traffic)
    quiet: Callable[[], bool] = field(repr=False, default=_never)


@dataclass(frozen=True, slots=True)
class Connector:
    """A connector as the server sees it.

    ``open`` returns an async context manager for one session with one school's MIS. ``datasets`` stand in
    the order in which they are to be read: what is referred to comes before what refers. ``simulate``, where
    present, runs the connector's MIS simulator with command line arguments and returns an exit status.
    ``conformance``, where present, returns what the conformance kit has to know of the connector; it
    imports that and the simulator only when it is called. ``writes`` are the operations that can be written;
    a session of a connector that has any implements ``WriteRows`` and, unless an operation's safety is
    ``NONE``, ``FindWrite``.

    Raises:
        ValueError: a name is malformed or repeated, or one kind is yielded by two datasets.
    """

    name: str
    display_name: str
    version: str
    settings: tuple[FieldSpec, ...]
    credentials: tuple[FieldSpec, ...]
    datasets: tuple[Dataset, ...]
    open: Callable[[SchoolConnection], AbstractAsyncContextManager[Session]]
    capabilities: frozenset[str] = frozenset()
    code_meanings: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    simulate: Callable[[Sequence[str]], int] | None = None
    conformance: Callable[[], ConformanceTarget] | None = None
    writes: tuple[WriteOperation, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"connector name {self.name!r} must match {_NAME.pattern}")
        names = [dataset.name for dataset in self.datasets]
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"dataset name {name!r} must match {_NAME.pattern}")
        kinds = [Kind.Name(spec.kind) for dataset in self.datasets for spec in dataset.kinds]
        operations = [operation.name for operation in self.writes]
        for what, values in (("dataset", names), ("kind", kinds), ("operation", operations)):
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(f"{what} given more than once: {', '.join(repeated)}")

    def dataset(self, name: str) -> Dataset:
        """Return the dataset called ``name``; raises ``KeyError`` where there is none."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise KeyError(name)
