"""A simulator of Bromcom's Partner API 2.0 and SOAP services, in a process of its own: ``python -m
schoolgate_bromcom.simulator``.

It serves the dialect that public sources describe, unpleasant sides included, from worlds of
``schoolgate_sdk.testing``. What those sources do not say it does not make up: entities that it does not
have are 404, filters that it does not understand are ``success: false``. It shares no code with the
connector, so that one misreading cannot hide in both.
"""

from schoolgate_bromcom.simulator.command import main

__all__ = ["main"]
