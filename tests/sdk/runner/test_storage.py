"""`flow.from_source`: a flow that knows where its runs get its code from."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from git_server import GitServer
from penstock import Flow, flow
from penstock.errors import ConfigurationError, DefinitionError
from penstock.manifests import Options, flow_manifest
from penstock.runner.storage import GitRepository, LocalStorage, RemoteStorage, located, storage_of
from penstock.settings import temporary_settings

JOBS = "import aid\nfrom penstock import flow\n\n@flow\ndef nightly(n: int = 1):\n    return aid.VALUE + n\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path) -> Iterator[None]:
    """What is fetched and imported is forgotten again."""
    path, before = list(sys.path), set(sys.modules)
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield
    sys.path[:] = path
    for name in {"jobs", "aid"} & (set(sys.modules) - before):
        del sys.modules[name]


def manifest(found: Flow[Any, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = flow_manifest(found, "elsewhere:f", "not its text", Options())["spec"]
    return spec


def test_a_repository(tmp_path: Path) -> None:
    (tmp_path / "repositories").mkdir()
    with GitServer(tmp_path / "repositories", password="t0ken") as server:
        server.repository("team").commit({"flows/jobs.py": JOBS, "flows/aid.py": "VALUE = 41\n"}, branch="prod")
        url = server.url("team")
        private = GitRepository(url, {"access_token": "t0ken"}, branch="prod", secret="team-token")
        found = flow.from_source(private, "flows/jobs.py:nightly")  # type: ignore[attr-defined]
        assert found() == 42
        spec = manifest(found)
        assert spec["code"] == {
            "git": {"url": url, "ref": "prod", "path": "flows", "secretRef": {"name": "team-token"}}
        }
        assert spec["entrypoint"] == "jobs:nightly"
        assert "n" in spec["parameters"]["properties"]
        del sys.modules["jobs"]
        with pytest.raises(
            DefinitionError, match=r"credentials given here are not sent .*GitRepository\(secret=NAME\)"
        ):
            Flow.from_source(GitRepository(url, {"token": "t0ken"}, branch="prod"), "flows/jobs.py:nightly")


def test_an_archive_is_deployed_as_it_was_seen(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "flows.tgz", "w:gz") as tar:
        for name, text in {"jobs.py": JOBS, "aid.py": "VALUE = 1\n"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    url = f"file://{tmp_path}/flows.tgz"
    code = manifest(Flow.from_source(url, "jobs.py:nightly"))["code"]["archive"]
    assert code["url"] == url
    assert code["digest"].startswith("sha256:")
    assert "path" not in code


def test_a_folder_here_goes_as_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "jobs.py").write_text(JOBS)
    (tmp_path / "project" / "aid.py").write_text("VALUE = 2\n")
    found = Flow.from_source(tmp_path / "project", "jobs.py:nightly")
    assert found(n=3) == 5
    assert set(manifest(found)["code"]) == {"bundle"}


def test_the_module_keeps_its_own_flow(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "aid.py").write_text("VALUE = 2\n")
    assert Flow.from_source(str(tmp_path), "jobs:nightly").origin is not None
    assert sys.modules["jobs"].nightly.origin is None


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("https://git.example/team/flows", GitRepository),
        ("git@git.example:team/flows.git", GitRepository),
        ("s3://bucket/flows.zip", RemoteStorage),
        ("flows", LocalStorage),
        (Path("flows"), LocalStorage),
        (RemoteStorage("gs://b/x.zip"), RemoteStorage),
    ],
    ids=str,
)
def test_what_a_source_is(source: Any, kind: type) -> None:
    assert isinstance(storage_of(source), kind)


@pytest.mark.parametrize(
    ("entrypoint", "found"),
    [
        ("flows/a/jobs.py:etl", ("flows/a", "jobs", "etl")),
        ("jobs.py:Jobs.etl", (None, "jobs", "Jobs.etl")),
        ("./jobs.py:etl", (None, "jobs", "etl")),
        ("team.jobs:etl", (None, "team.jobs", "etl")),
    ],
)
def test_where_an_entrypoint_is(entrypoint: str, found: tuple[Any, ...]) -> None:
    assert located(entrypoint) == found


@pytest.mark.parametrize("entrypoint", ["jobs.py", "jobs.py:", "my-jobs.py:etl", "a/b:etl", ":etl"])
def test_what_is_no_entrypoint(entrypoint: str) -> None:
    with pytest.raises(DefinitionError, match=r"write path/file\.py:flow or module:flow"):
        located(entrypoint)


def test_what_cannot_go_together() -> None:
    with pytest.raises(ConfigurationError, match="one of branch, tag and commit_sha"):
        GitRepository("https://g/x", branch="a", tag="b")
    with pytest.raises(ConfigurationError, match="submodules are not fetched"):
        GitRepository("https://g/x", include_submodules=True)
    with pytest.raises(DefinitionError, match="is no folder"):
        Flow.from_source("nowhere", "jobs.py:etl")
