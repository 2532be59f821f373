"""Requirements are installed once, from a folder of wheels made here; what cannot be names its line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pydantic
import pytest

from penstock.code.requirements import blamed, explained, installed, key
from penstock.errors import RequirementsFailed
from penstock.settings import temporary_settings
from wheels import wheel


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of wheels, which is all that there is."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "tealeaf", "1.0")
    wheel(folder, "tealeaf", "2.0")
    wheel(folder, "teapot", "1.0", "tealeaf<2", "penstock>=0.1")
    monkeypatch.setenv("UV_OFFLINE", "true")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield folder


def test_a_layer_has_what_was_asked_for_and_what_that_needs() -> None:
    """Penstock is what runs the flow: it is neither asked for nor installed."""
    layer = installed(["teapot"])
    found = subprocess.run(
        [sys.executable, "-c", "import teapot, tealeaf; print(tealeaf.VERSION)"],
        env={"PYTHONPATH": str(layer)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "1.0\n"
    assert not (layer / "penstock").exists()
    assert not list(layer.glob("*.txt"))


def test_it_is_installed_once(index: Path) -> None:
    layer = installed(["tealeaf==1.0"])
    for path in index.iterdir():
        path.unlink()
    assert installed(["tealeaf==1.0"]) == layer


def test_another_order_is_the_same_layer_and_another_line_is_not() -> None:
    assert key(["a", "b"]) == key(["b", "a"])
    assert key(["a"]) != key(["b"])
    assert key(["a"], ["pydantic==2"]) != key(["a"], ["pydantic==3"])


def test_another_index_is_another_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    here = key(["a"])
    monkeypatch.setenv("UV_INDEX", "https://one:pw@index.example/simple")
    there = key(["a"])
    assert there != here
    monkeypatch.setenv("UV_INDEX", "https://one:changed@index.example/simple")
    assert key(["a"]) == there, "a password that was changed installs nothing anew"


FAILURES = {
    "an option": (["tealeaf", "--index-url=https://x"], "'--index-url=https://x' is an option"),
    "an option behind a line break": (["tealeaf\n--index-url=https://x"], "no single line"),
    "a line that goes on in the next": (["tealeaf \\", "==1.0"], "no single line"),
    "a package that is not there": (["tealeaf", "no-such-teacup==1"], "'no-such-teacup==1' cannot be installed"),
    "a version that is not there": (["tealeaf==9", "teapot"], "'tealeaf==9'"),
    "two lines against each other": (["tealeaf==2.0", "teapot"], "'tealeaf==2.0', 'teapot' cannot be installed"),
    "a line that is none": (["tealeaf", "tea pot"], "'tea pot' cannot be installed"),
    "another version of what is loaded": ([f"pydantic<{pydantic.VERSION}"], "'pydantic<"),
    "another Penstock": (["penstock==0.0.7"], "'penstock==0.0.7': the image has Penstock"),
}


@pytest.mark.parametrize(("lines", "message"), FAILURES.values(), ids=FAILURES)
def test_a_line_that_cannot_be_installed_is_named(lines: list[str], message: str) -> None:
    with pytest.raises(RequirementsFailed, match=message) as caught:
        installed(lines)
    assert str(caught.value).startswith("spec.requirements: ")
    assert caught.value.reason == "RequirementsFailed"


def test_without_uv_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequirementsFailed, match=r"the image has no uv .*penstock\[requirements\]"):
        installed(["tealeaf"])


def test_credentials_of_an_index_are_not_told() -> None:
    said = explained(["a"], "error: Failed to fetch: `https://user:hunter2@index.example/simple/a/`")
    assert "hunter2" not in said
    assert "https://…@index.example" in said


BLAMED = {
    "by name": ("Because Tea_Pot was not found and you require tea-pot==1", ["tea.pot==1"]),
    "by position": ("Couldn't parse requirement in `r.txt` at position 8", ["??"]),
    "by nothing": ("No route to host", []),
}


@pytest.mark.parametrize(("said", "lines"), BLAMED.values(), ids=BLAMED)
def test_which_lines_the_installers_words_are_about(said: str, lines: list[str]) -> None:
    assert blamed(["numpy>2", "??", "tea.pot==1"], said) == lines
