"""The kit for testing connectors and whatever stands behind them.

:mod:`schoolgate_sdk.testing.world` is a synthetic school; nothing here is imported by code in production.
"""
