"""A simulator of Wonde's API, in a process of its own: ``python -m schoolgate_wonde.simulator``.

It serves the dialect that public sources describe, from worlds of ``schoolgate_sdk.testing``; where they name
no field it uses the names that the connector's settings have for defaults, which proves nothing about Wonde.
It shares no code with the connector.
"""

from schoolgate_wonde.simulator.command import main

__all__ = ["main"]
