"""Prefect's place for the harness."""

from __future__ import annotations

from .harness import Harness, penstock_test_harness

__all__ = ["Harness", "penstock_test_harness"]
