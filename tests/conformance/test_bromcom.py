"""The Bromcom connector is certified, by the Partner API and by the SOAP services."""

from __future__ import annotations

from pathlib import Path

from schoolgate_sdk.testing.conformance import conformance_tests

CERTIFICATE = Path(__file__).parents[2] / "connectors" / "bromcom" / "certificate.json"
"""What `make certificates` writes."""

test_conformance = conformance_tests("bromcom", CERTIFICATE)
