"""Tests stand where their sources stand, under the same names, so that neither is lost when the other moves."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
SOURCES = {
    "sdk": ROOT / "sdk" / "penstock",
    "operator": ROOT / "operator" / "penstock_operator",
    "cluster": ROOT / "cluster" / "penstock_cluster",
}
# Modules of the API package that only declare fields; test_kinds and the tests of the CRDs walk all of them.
KINDS_WITHOUT_BEHAVIOUR = {
    "artifact",
    "attempts",
    "automation",
    "backfill",
    "block",
    "concurrencylimit",
    "flow",
    "flowdeployment",
    "pauses",
    "resolved",
    "runstatus",
    "taskrunpage",
    "variable",
    "workpool",
    "workqueue",
}


def source_of(test: Path) -> Path:
    """The module, or the package, that a test file is about."""
    area, *folders = test.relative_to(TESTS).parent.parts
    return SOURCES[area].joinpath(*folders, test.stem.removeprefix("test_"))


def mirrored_tests() -> list[Path]:
    return [test for area in SOURCES for test in sorted((TESTS / area).rglob("test_*.py"))]


@pytest.mark.parametrize("test", mirrored_tests(), ids=lambda test: str(test.relative_to(TESTS)))
def test_every_test_file_has_its_source(test: Path) -> None:
    source = source_of(test)
    whole = source.name == source.parent.name  # tests of a package as such are named after it
    assert source.with_suffix(".py").exists() or source.is_dir() or whole, f"no {source}.py: rename the test with it"


def test_every_module_of_the_api_has_its_tests() -> None:
    modules = {path.stem for path in (SOURCES["sdk"] / "api").glob("*.py")} - {"__init__"}
    tested = {path.stem.removeprefix("test_") for path in (TESTS / "sdk" / "api").glob("test_*.py")}
    assert modules - tested == KINDS_WITHOUT_BEHAVIOUR


def test_no_package_files_where_they_would_shadow_others() -> None:
    """`operator/__init__.py` would shadow the standard library; tests are imported by path."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not list(TESTS.rglob("__init__.py"))
