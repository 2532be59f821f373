"""Resources as files: what is written is read, whole, by every process; and only by their user."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ResourceError, ResourceExists, ResourceNotFound
from penstock.resources import body_of
from penstock.resources.local import LocalResources, home


@pytest.fixture
def local(tmp_path: Path) -> LocalResources:
    return LocalResources(tmp_path / "home")


def variable(name: str = "x", value: Any = 1) -> dict[str, Any]:
    return body_of("Variable", name, {"value": value})


def test_what_is_created_is_a_manifest_in_a_file(local: LocalResources, tmp_path: Path) -> None:
    made = local.create(variable())
    assert json.loads((tmp_path / "home/variables/x.json").read_text()) == made == local.get("variables", "x")
    assert (made["apiVersion"], made["kind"]) == ("penstock.dev/v1alpha1", "Variable")
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"]


def test_a_name_is_taken_once(local: LocalResources) -> None:
    local.create(variable())
    with pytest.raises(ResourceExists, match="variables/x exists in"):
        local.create(variable(value=2))
    body = local.get("variables", "x")
    assert body is not None
    assert body["spec"]["value"] == 1


def test_fields_are_set_whole_by_pointer(local: LocalResources) -> None:
    local.create(variable(value={"a": 1}))
    changed = local.change("variables", "x", {"/spec/value": {"b": 2}, "/metadata/labels/a~1b~0c": "d"})
    assert changed["spec"]["value"] == {"b": 2}
    assert changed["metadata"]["labels"]["a/b~c"] == "d"
    assert local.get("variables", "x") == changed


def test_what_is_not_there_is_said_so(local: LocalResources) -> None:
    assert local.get("variables", "x") is None
    assert local.list("variables") == []
    assert local.delete("variables", "x") is False
    with pytest.raises(ResourceNotFound, match="variables/x is not in"):
        local.change("variables", "x", {"/spec/value": 1})


def test_lists_are_by_name_and_of_one_kind(local: LocalResources) -> None:
    for name in ("b", "a"):
        local.create(variable(name))
    local.create(body_of("Block", "c", {"type": "t"}))
    assert [body["metadata"]["name"] for body in local.list("variables")] == ["a", "b"]
    assert local.delete("variables", "a") is True
    assert [body["metadata"]["name"] for body in local.list("variables")] == ["b"]


def test_nobody_else_may_read_them(local: LocalResources, tmp_path: Path) -> None:
    local.create({"kind": "Secret", "metadata": {"name": "s"}, "data": {}})
    folder = tmp_path / "home"
    for path, mode in ((folder, 0o700), (folder / "secrets", 0o700), (folder / "secrets/s.json", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_no_files_are_left_aside(local: LocalResources, tmp_path: Path) -> None:
    local.create(variable())
    local.change("variables", "x", {"/spec/value": 2})
    assert {path.name for path in (tmp_path / "home/variables").iterdir()} == {".lock", "x.json"}


COUNT = """
import sys
from pathlib import Path
from penstock.resources.local import LocalResources
local = LocalResources(Path(sys.argv[1]))
for n in range(100):
    local.change("variables", "x", {f"/spec/value/{sys.argv[2]}-{n}": n})
"""


def test_processes_change_one_after_the_other(local: LocalResources, tmp_path: Path) -> None:
    """No change of either is lost."""
    local.create(variable(value={}))
    command = [sys.executable, "-c", COUNT, str(tmp_path / "home")]
    writers = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    body = local.get("variables", "x")
    assert body is not None
    assert len(body["spec"]["value"]) == 200


def test_a_file_that_is_no_json_is_named(local: LocalResources, tmp_path: Path) -> None:
    local.create(variable())
    (tmp_path / "home/variables/x.json").write_text("{")
    with pytest.raises(ResourceError, match=r"x\.json is no JSON .*: correct it, or delete it"):
        local.get("variables", "x")


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="set PENSTOCK_HOME to another folder"):
        LocalResources(tmp_path / "file").create(variable())


def test_home_is_a_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("PENSTOCK_HOME", raising=False)
    assert home() == Path("/home/somebody/.penstock")
    monkeypatch.setenv("PENSTOCK_HOME", "~/other")
    assert home() == Path("/home/somebody/other")
