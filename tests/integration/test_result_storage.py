"""Results in object storage, against a real S3 server on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import flow, task
from penstock.cache_policies import INPUTS
from penstock.errors import StorageUnavailable
from penstock.results import ResultStore, StoredResult
from penstock_cluster import binaries
from store_contract import StoreContract

KEY, SECRET = "AKIDTEST", "not-a-secret-of-anyone"


class Server:
    """An S3 server whose buckets are folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "buckets"
        self._sidecar = folder / "metadata"
        for path in (self.folder, self._sidecar):
            path.mkdir()
        self._program = binaries.ensure((binaries.S3,)) / "versitygw"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", f"127.0.0.1:{self.port}", "--quiet"),
                *("posix", "--sidecar", str(self._sidecar), str(self.folder)),
            ],
            env={**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def bucket(self) -> str:
        """The URL of a bucket of its own."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        (self.folder / name).mkdir()
        return f"s3://{name}/some/prefix?endpoint=http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("s3"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


class TestS3(StoreContract):
    """A store in a bucket."""

    @pytest.fixture
    def store(self, server: Server) -> ResultStore:
        return ResultStore.from_url(server.bucket())


def test_the_record_is_an_object_below_the_prefix(server: Server) -> None:
    url = server.bucket()
    store = ResultStore.from_url(url, serializer="json")
    store.write("runs/1", [1, 2])
    bucket = url.removeprefix("s3://").partition("/")[0]
    stored = (server.folder / bucket / "some" / "prefix" / "runs" / "1").read_bytes()
    assert stored.startswith(b"penstock-result 1\n")
    assert stored.endswith(b"\n[1, 2]")
    assert StoredResult.from_url(store.url_of("runs/1")).get() == [1, 2]


def test_the_endpoint_may_come_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _, endpoint = server.bucket().partition("?endpoint=")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    store = ResultStore.from_url(url)
    store.write("k", 1)
    assert store.read("k") == 1


def test_a_bucket_that_does_not_exist_is_told_at_once(server: Server) -> None:
    store = ResultStore.from_url(f"s3://no-such-bucket/x?endpoint=http://127.0.0.1:{server.port}", serializer="json")
    for verb in (lambda: store.write("k", 1), lambda: store.read("k"), lambda: store.exists("k")):
        with pytest.raises(StorageUnavailable, match=r"s3://no-such-bucket/x.*NoSuchBucket") as caught:
            verb()
        assert not caught.value.transient


def test_wrong_credentials_are_told_at_once_and_not_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        with monkeypatch.context() as changed:
            changed.setenv(name, "hunter2hunter2")
            store = ResultStore.from_url(url)
            with pytest.raises(StorageUnavailable, match=r"(SignatureDoesNotMatch|access key ID)") as caught:
                store.write("k", 1)
        assert not caught.value.transient
        assert caught.value.__cause__ is None
        for secret in ("hunter2", KEY, SECRET):
            assert secret not in str(caught.value)


def test_a_server_that_is_down_is_tried_again_then_named(tmp_path: Path) -> None:
    """Down and up again within the pauses is not seen; down for longer names URL and cause."""
    mine = Server(tmp_path)
    mine.start()
    try:
        url = mine.bucket()
        ResultStore.from_url(url).write("k", 1)
        mine.stop()
        with pytest.raises(StorageUnavailable, match=rf"s3://.*127.0.0.1:{mine.port} cannot be read \(tried 2 times\)"):
            ResultStore(url, retry_delays=(0.01,)).read("k")

        patient = ResultStore(url, retry_delays=(0.0, 0.0))
        pauses = []

        def pause(_: float) -> None:
            pauses.append(1)
            mine.start()

        with pytest.MonkeyPatch.context() as changed:
            changed.setattr("penstock.results.store.sleep", pause)
            assert patient.read("k") == 1
        assert pauses == [1]
    finally:
        mine.stop()


def test_a_task_is_cached_across_flow_runs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads and in an event loop, with the store named by the environment as in a pod."""
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", server.bucket())
    monkeypatch.setenv("PENSTOCK_PROGRESS", "off")
    ran: list[int] = []

    @task(cache_policy=INPUTS, result_serializer="compressed/json")
    def square(x: int) -> int:
        ran.append(x)
        return x * x

    @flow
    def in_threads() -> list[int]:
        return square.map([1, 2, 3]).result()

    @flow(persist_result=True, cache_result_in_memory=False)
    async def in_a_loop() -> list[int]:
        return [square(2), square(3)]

    assert (in_threads(), in_threads(), asyncio.run(in_a_loop())) == ([1, 4, 9], [1, 4, 9], [4, 9])
    assert sorted(ran) == [1, 2, 3]
