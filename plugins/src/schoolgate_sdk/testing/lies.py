"""Every lie that is known, each by its name: what a host of connectors has to withstand.

    @pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)

A host withstands a lie when the run ends, in bounded time and memory; when its failure names the connector;
when nothing that was stored is lost or deleted; when other datasets go on; and when the next honest run ends
in the truth. What no host can tell from the truth is no lie here: a session that cannot be asked for single
entities and claims that a list which it cut short is the whole.
"""

from __future__ import annotations

from schoolgate_sdk.testing.lies_in_answers import ANSWERS
from schoolgate_sdk.testing.lies_in_reading import READING, ended
from schoolgate_sdk.testing.lying import Lie, answering

NO_COUNT = Lie(
    name="no_count", says="The MIS has no count.", count=answering(None), pages=ended(expected_rows=None)
)
"""To be told with another one, which a count would give away."""

LIES: tuple[Lie, ...] = (*READING, *ANSWERS)
"""Every lie."""


def lie_named(name: str) -> Lie:
    """Return the lie called ``name``; raises ``KeyError`` where there is none."""
    return {lie.name: lie for lie in LIES}[name]
