"""When programs are built again."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_cluster import binaries
from penstock_cluster.binaries import EVERY, MODULES


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the go.mod files that a test may change."""
    for module in EVERY:
        (tmp_path / "cluster" / module.folder).mkdir(parents=True, exist_ok=True)
        for name in ("go.mod", "go.sum"):
            shutil.copy(binaries.ROOT / "cluster" / module.folder / name, tmp_path / "cluster" / module.folder / name)
    monkeypatch.setattr(binaries, "ROOT", tmp_path)
    return tmp_path


def test_key_stays_while_nothing_changes(sources: Path) -> None:
    """The same versions and compiler: the same folder of the cache."""
    assert [binaries.key(module, "go1.26.8") for module in EVERY] == [binaries.key(m, "go1.26.8") for m in EVERY]
    assert len({binaries.key(module, "go1.26.8") for module in EVERY}) == len(EVERY)


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_key_changes_with_the_versions(sources: Path, name: str) -> None:
    """A changed go.mod or go.sum builds its own module again, and no other."""
    before = {module.folder: binaries.key(module, "go1.26.8") for module in EVERY}
    with (sources / "cluster" / "helm" / name).open("a") as file:
        file.write("\n// changed\n")
    after = {module.folder: binaries.key(module, "go1.26.8") for module in EVERY}
    assert {folder for folder in before if before[folder] != after[folder]} == {"helm"}


def test_key_changes_with_the_compiler_and_the_flags(sources: Path) -> None:
    """Another Go or another version string makes other programs."""
    module = MODULES[0]
    assert binaries.key(module, "go1.26.8") != binaries.key(module, "go1.26.9")
    assert binaries.key(module, "go1.26.8") != binaries.key(replace(module, ldflags="-s"), "go1.26.8")


def test_every_program_is_a_tool_of_its_module() -> None:
    """What is built is what go.mod pins, at the version that the node reports."""
    for module in EVERY:
        text = (binaries.ROOT / "cluster" / module.folder / "go.mod").read_text()
        for package in module.packages.values():
            assert re.search(rf"^(tool|\t|tool \() ?{re.escape(package)}$", text, re.MULTILINE), package
    assert f"k8s.io/kubernetes {binaries.KUBERNETES} " in (binaries.ROOT / "cluster" / "go.mod").read_text()
