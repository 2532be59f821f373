"""From a run's status to code that can be loaded, for each form; what it turned out to be is told once."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from git_server import GitServer
from loopback_pod import environment, launched
from penstock import __version__, flow
from penstock.code import bundle
from penstock.errors import BundleMismatch, CodeUnavailable
from penstock.runner.assignment import Assignment
from penstock.runner.delivery import Delivered, deliver, secret
from penstock.runner.loading import load
from penstock.settings import temporary_settings

Json = dict[str, Any]
FLOW = "from penstock import flow\n\n@flow\ndef etl():\n    return {value}\n"


class Stage:
    """A run with that code, and what was told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found = folder, []  # type: ignore[var-annotated]

    def deliver(self, code: Json, status: Json | None = None, **variables: str) -> Delivered:
        run = launched()
        run["status"] |= {"resolved": {"code": code, "entrypoint": "jobs:etl"}, **(status or {})}
        return deliver(Assignment({**environment(run, "pod-uid"), **variables}), run, self.found.append)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    path, before = list(sys.path), set(sys.modules)
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield Stage(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name == "jobs":
            del sys.modules[name]


def value(code: Delivered) -> object:
    return load("jobs:etl", code).fn()


def archive(path: Path, value: int) -> str:
    text = FLOW.format(value=value).encode()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("src/jobs.py")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return f"file://{path}"


def test_source_is_executed_where_it_is_mounted(stage: Stage) -> None:
    (stage.folder / "flow.py").write_text(FLOW.format(value=1))
    code = stage.deliver({"kind": "source"}, PENSTOCK_CODE=str(stage.folder / "flow.py"))
    assert value(code) == 1
    assert stage.found == []


def test_a_branch_is_a_commit_from_then_on(stage: Stage) -> None:
    (stage.folder / "repositories").mkdir()
    with GitServer(stage.folder / "repositories", password="t0ken") as server:
        repository = server.repository("flows")
        first = repository.commit({"src/jobs.py": FLOW.format(value=1)})
        token = stage.folder / "secret"
        token.mkdir()
        (token / "token").write_text("t0ken\n")
        code = {"kind": "git", "url": server.url("flows"), "ref": "main", "path": "src"}
        assert value(stage.deliver(code, PENSTOCK_CODE_SECRET=str(token))) == 1
        assert stage.found == [{"commit": first}]

        repository.commit({"src/jobs.py": FLOW.format(value=2)})
        del sys.modules["jobs"]
        again = stage.deliver(code, {"code": {"commit": first}}, PENSTOCK_CODE_SECRET=str(token))
        assert value(again) == 1, "a later attempt runs the commit of the first"
        assert len(stage.found) == 1

        with pytest.raises(CodeUnavailable, match=r"git\.path: there is no folder lib in it; at its top are src"):
            stage.deliver({**code, "path": "lib"}, PENSTOCK_CODE_SECRET=str(token))


def test_an_archive_that_was_replaced_is_not_taken_for_the_same(stage: Stage) -> None:
    code = {"kind": "archive", "url": archive(stage.folder / "code.tgz", 1), "path": "src"}
    assert value(stage.deliver(code)) == 1
    (found,) = stage.found
    (stage.folder / "cache").rename(stage.folder / "elsewhere")
    archive(stage.folder / "code.tgz", 2)
    with pytest.raises(CodeUnavailable, match="it was replaced"):
        stage.deliver(code, {"code": found})


def test_a_bundle_brings_its_flow(stage: Stage) -> None:
    @flow
    def etl() -> int:
        return 5

    packed = bundle.pack(etl)
    made = {"kind": "bundle", "pythonVersion": packed.python_version, "penstockVersion": __version__}
    (stage.folder / "flow.bundle").write_bytes(packed.data)
    assert value(stage.deliver(made, PENSTOCK_CODE=str(stage.folder / "flow.bundle"))) == 5
    (stage.folder / "large").write_bytes(packed.data)
    large = {**made, "url": f"file://{stage.folder}/large", "digest": packed.digest}
    assert value(stage.deliver(large)) == 5
    with pytest.raises(BundleMismatch, match=r"made with Python 3\.9\.1"):
        stage.deliver({**made, "pythonVersion": "3.9.1"}, PENSTOCK_CODE=str(stage.folder / "flow.bundle"))


def test_keys_of_a_secret_are_files(stage: Stage) -> None:
    """The kubelet's own links beside them are none."""
    mounted = stage.folder / "secret"
    (mounted / "..2026").mkdir(parents=True)
    (mounted / "..2026" / "password").write_text("hunter2\n")
    (mounted / "..data").symlink_to("..2026")
    (mounted / "password").symlink_to("..data/password")
    variables = {**environment(launched(), "pod-uid"), "PENSTOCK_CODE_SECRET": str(mounted)}
    assert secret(Assignment(variables)) == {"password": "hunter2"}
    assert secret(Assignment(environment(launched(), "pod-uid"))) == {}
