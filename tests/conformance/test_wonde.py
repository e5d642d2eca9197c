"""The Wonde connector is certified by the kit."""

from __future__ import annotations

from schoolgate_sdk.testing.conformance import conformance_tests

test_conformance = conformance_tests("wonde")
