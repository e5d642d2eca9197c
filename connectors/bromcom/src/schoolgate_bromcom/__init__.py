"""Bromcom for schoolgate, over the Partner API 2.0, with a simulator of that API.

Built from public facts alone and never run against Bromcom itself; the README says what is known and what is
inferred. Nothing in this package knows the server.
"""
