"""The Wonde connector is certified by the kit."""

from __future__ import annotations

from pathlib import Path

from schoolgate_sdk.testing.conformance import conformance_tests

CERTIFICATE = Path(__file__).parents[2] / "connectors" / "wonde" / "certificate.json"
"""What `make certificates` writes."""

test_conformance = conformance_tests("wonde", CERTIFICATE)
