"""Runs syncs: reads through connectors, proves completeness, and hands everything to ingest.

Nothing here knows a MIS; connectors come in through their frozen description only.
"""
