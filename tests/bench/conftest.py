"""Benchmarks run against an installed Penstock; see `installation.penstock`."""

from installation import penstock

__all__ = ["penstock"]
