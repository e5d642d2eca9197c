"""What no error, log line or repr may tell: credentials, and anything of a pupil."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from schoolgate_sdk.errors import ConnectorError
from schoolgate_sdk.testing.conformance.bench import Stage
from schoolgate_sdk.testing.conformance.outcome import CheckFailed

_SHORTEST_SECRET: Final = 6
"""Characters; a shorter text is in any sentence by chance."""

_NOTHING_MORE: Final[Mapping[str, str]] = MappingProxyType({})


def texts_of(error: ConnectorError) -> list[str]:
    """Return everything that is said of an error: as a log with tracebacks has it, the messages of every
    error in the chain, and no local variables.
    """
    said = [str(error), repr(error), str(error.entity)]
    return said + list(traceback.TracebackException.from_exception(error).format())


def check_silent(stage: Stage, texts: Iterable[str], more: Mapping[str, str] = _NOTHING_MORE) -> None:
    """Raise ``CheckFailed`` where a text holds a credential, something of a pupil, or one of ``more``.

    ``more`` has further texts, each with what it is.
    """
    words = {**_words(stage), **more}
    for text in texts:
        found = [what for word, what in words.items() if word in text]
        if found:
            raise CheckFailed(
                f"{found[0]} stands in an error, a log line or a repr: … {_around(text, words)} …",
                "say what went wrong without quoting bodies, addresses with secrets, or exceptions that do",
            )


def _words(stage: Stage) -> dict[str, str]:
    words = {
        value: f"the credential {name}"
        for name, value in stage.mis.credentials.items()
        if len(value) >= _SHORTEST_SECRET
    }
    pupils = stage.world.pupils.values()
    words |= {pupil.upn: "a UPN" for pupil in pupils if pupil.upn}
    words |= {pupil.email: "a pupil's e-mail address" for pupil in pupils if pupil.email}
    return words


def _around(text: str, words: Mapping[str, str]) -> str:
    """Return what stands before the first such word, which itself is not repeated."""
    place = min(text.index(word) for word in words if word in text)
    return text[max(0, place - 60) : place]
