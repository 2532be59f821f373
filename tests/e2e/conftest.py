"""End-to-end tests run against an installed Penstock; see `installation.penstock`."""

from __future__ import annotations

from pathlib import Path

import pytest

from installation import penstock
from shared_folder import shared

__all__ = ["penstock", "shared"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever stands in this folder needs the node."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
