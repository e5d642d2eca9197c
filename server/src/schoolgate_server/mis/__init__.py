"""Reaches schools' MISs: loaded connectors, credentials, sessions, and whose fault it is where one fails.

Reading (``sync``) and writing (``writeback``) share it. Nothing here knows a MIS.
"""
