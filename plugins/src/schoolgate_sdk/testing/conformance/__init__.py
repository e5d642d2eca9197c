"""The conformance kit: shows that a connector does what a host of connectors relies on.

    from schoolgate_sdk.testing.conformance import conformance_tests

    test_conformance = conformance_tests("acme")

is all that an author's tests need, and ``python -m schoolgate_sdk.testing.conformance acme --out
certificate.json`` shows the same as a table and writes a certificate. What the kit has to know of a
connector, its simulator above all, stands in :mod:`schoolgate_sdk.testing.conformance.target`.

World, simulator, connector, parsers: what comes out at the end must equal what ``world.canonical()`` says,
for every kind, after every edit, under every fault. Each check is proven, waived (the author's reason stands
in the certificate), not applicable (the kit says why) or failed (the kit says what to do next).
"""

from schoolgate_sdk.testing.conformance.in_pytest import conformance_tests

__all__ = ["conformance_tests"]
