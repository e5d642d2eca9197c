"""Parsers of Wonde's resources: pure functions from one row to canonical messages.

Every change of what a parser yields raises its version in ``datasets``. Canonical meanings and references
are left to the server, as the SDK asks. Fields stand where ``fields`` says; others are ignored.
"""
