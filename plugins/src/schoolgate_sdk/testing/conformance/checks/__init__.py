"""The checks, module by module."""
