"""Wonde for schoolgate, with a simulator of its API.

Built from public facts alone and never run against Wonde itself; the README says what is known and what is
inferred. Nothing in this package knows the server.
"""
