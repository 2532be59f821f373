"""Code that a run fetches, against a real API server with the chart's policies, a real git server and a real S3."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import Refused
from builders import resolved, run_state
from cells import Cell
from git_server import GitServer
from penstock.api import names
from penstock.code import archives
from penstock.errors import CodeUnavailable
from penstock.results.storage import open_storage
from penstock.results.urls import parse
from penstock.settings import temporary_settings
from penstock_cluster import control_plane as planes
from pod_stage import Stage
from storage_servers import AzureServer, GoogleFront, S3Server

Json = dict[str, Any]
FLOW = "from penstock import flow\n\n@flow\ndef etl(**_):\n    return {value}\n"
JOBS = {"PENSTOCK_ENTRYPOINT": "jobs:etl"}
KEYS = {"AWS_ACCESS_KEY_ID": S3Server.KEY, "AWS_SECRET_ACCESS_KEY": S3Server.SECRET, "AWS_REGION": "us-east-1"}


@pytest.fixture
def stage(cell: Cell, control_plane: planes.ControlPlane, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(cell, control_plane, tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    (tmp_path / "s3").mkdir()
    server = S3Server(tmp_path / "s3")
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["s3", "azure", "google"])
def bucket(request: pytest.FixtureRequest, s3: S3Server) -> Iterator[tuple[str, dict[str, str]]]:
    """An empty bucket, and the credentials for it by the names of environment variables."""
    if request.param == "s3":
        yield s3.bucket(), KEYS
    elif request.param == "azure":
        azure = AzureServer()
        azure.start()
        yield (
            azure.bucket(),
            {"AZURE_STORAGE_ACCOUNT_NAME": azure.ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": azure.KEY},
        )
        azure.stop()
    else:
        with GoogleFront(s3) as google:
            yield google.bucket(), {"GOOGLE_SERVICE_ACCOUNT_KEY": google.account()}


def launched(stage: Stage, code: Json, attempt: int = 1) -> Json:
    """The run after its launch: made with the first attempt, and given back to the operator with a later one."""
    if attempt == 1:
        stage.cell.run("run")
        return stage.cell.status("run", {"resolved": resolved(code=code, entrypoint="jobs:etl")})
    seq = stage.status["state"]["seq"] + 2  # Scheduled lies between
    return stage.cell.status("run", {"state": run_state("Pending", seq), "attempt": attempt, "pod": None})


def test_a_run_keeps_to_the_commit_that_its_branch_was(stage: Stage, tmp_path: Path) -> None:
    """By one write more than a run of mounted source; what is known of it, not even its own pod changes."""
    secret = tmp_path / "secret"
    for folder in (secret, tmp_path / "repositories"):
        folder.mkdir()
    (secret / "token").write_text("t0ken")
    variables = {"PENSTOCK_CODE_SECRET": str(secret), "PENSTOCK_CODE_CACHE": str(tmp_path / "cache"), **JOBS}
    with GitServer(tmp_path / "repositories", password="t0ken") as server:
        repository = server.repository("flows")
        first = repository.commit({"src/jobs.py": "import os\nos._exit(9)\n"})
        code = {"kind": "git", "url": server.url("flows"), "ref": "main", "path": "src"}
        pod = stage.cell.pod("run-1")
        process = stage.start("", pod, launched(stage, code), **variables)
        assert process.ends() == 9, process.stderr
        assert stage.status["code"] == {"commit": first}
        assert "t0ken" not in process.stderr + process.stdout

        with pytest.raises(Refused, match="code cannot be changed once it is written"):
            stage.cell.write(pod, {"code": {"commit": "f" * 40}})
        repository.commit({"src/jobs.py": FLOW.format(value=2)})
        process = stage.start("", stage.cell.pod("run-2"), launched(stage, code, attempt=2), **variables)
        assert process.ends() == 9, "the second attempt runs what the first did"
        assert stage.status["code"] == {"commit": first}


def test_a_ref_that_is_gone_fails_the_run_by_field(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "repositories").mkdir()
    with GitServer(tmp_path / "repositories") as server:
        server.repository("flows").commit({"jobs.py": FLOW.format(value=1)})
        run = launched(stage, {"kind": "git", "url": server.url("flows"), "ref": "v9"})
        process = stage.start("", stage.cell.pod("run-1"), run, PENSTOCK_CODE_CACHE=str(tmp_path / "cache"), **JOBS)
        assert process.ends() == 0, process.stderr
    state = stage.status["state"]
    assert (state["type"], state["reason"]) == ("Failed", "CodeUnavailable")
    assert state["message"].startswith("spec.code.git.ref: v9 is neither branch nor tag of http://127.0.0.1")
    assert "code" not in stage.status


def archive(value: int) -> bytes:
    out, text = io.BytesIO(), FLOW.format(value=value).encode()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("jobs.py")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return out.getvalue()


def test_an_archive_in_a_bucket_is_run_and_its_digest_told(
    stage: Stage, tmp_path: Path, bucket: tuple[str, dict[str, str]]
) -> None:
    """With the credentials of its own Secret alone."""
    url, keys = parse(bucket[0]), bucket[1]
    packed = archive(7)
    open_storage(url, keys).put("flows.tgz", packed)
    secret = tmp_path / "secret"
    secret.mkdir()
    for name, value in keys.items():
        (secret / name).write_text(value)
    run = launched(stage, {"kind": "archive", "url": str(url.child("flows.tgz"))})
    variables = {"PENSTOCK_CODE_SECRET": str(secret), "PENSTOCK_CODE_CACHE": str(tmp_path / "cache"), **JOBS}
    process = stage.start("", stage.cell.pod("run-1"), run, **variables)
    assert process.ends() == 0, process.stderr
    assert stage.status["result"] == {"inline": 7}
    assert stage.status["code"] == {"digest": names.content_digest(packed)}


def test_what_a_bucket_does_not_give_is_told(tmp_path: Path, s3: S3Server) -> None:
    bucket = parse(s3.bucket())
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        with pytest.raises(CodeUnavailable, match="there is no such object"):
            archives.fetch(str(bucket.child("nothing.zip")), None, KEYS)
        with pytest.raises(CodeUnavailable, match=r"spec\.code\.archive\.url") as caught:
            archives.fetch(str(bucket.child("nothing.zip")), None, {**KEYS, "AWS_SECRET_ACCESS_KEY": "wr0ng"})
    assert "wr0ng" not in str(caught.value)


def test_large_objects_come_in_pieces(s3: S3Server) -> None:
    storage, data = open_storage(parse(s3.bucket()), KEYS), bytes(range(256)) * 40_000
    storage.put("large", data)
    pieces = list(storage.chunks("large") or ())
    assert b"".join(pieces) == data
    assert len(pieces) > 1
    assert storage.chunks("nothing") is None
