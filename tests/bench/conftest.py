"""Fixtures of the benchmarks: the same node and the same `penstock` as the end-to-end tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[1] / "e2e/conftest.py"
_SPEC = importlib.util.spec_from_file_location("e2e_fixtures", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
e2e_fixtures = importlib.util.module_from_spec(_SPEC)
sys.modules["e2e_fixtures"] = e2e_fixtures
_SPEC.loader.exec_module(e2e_fixtures)
penstock = e2e_fixtures.penstock
