"""The Bromcom connector is certified, by the Partner API and by the SOAP services."""

from __future__ import annotations

from schoolgate_sdk.testing.conformance import conformance_tests

test_conformance = conformance_tests("bromcom")
