"""The conformance kit: shows that a connector does what a host of connectors relies on.

:mod:`schoolgate_sdk.testing.conformance.target` is what an author writes against.
"""
