"""Fails when it is imported, like a module whose own dependency is missing or of another release."""

raise ImportError("cannot import name 'Client' from 'acme_rpc'")
