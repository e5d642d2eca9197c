"""Connectors that fail where a connector can fail before it has said anything."""
