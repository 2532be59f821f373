"""Results in object storage, against real servers on loopback: S3, Azure Blob Storage, and Google's client on S3's.

A server of Google Cloud Storage is not here: `docs/results-and-caching.md` says why.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import flow, task
from penstock.cache_policies import INPUTS
from penstock.errors import StorageUnavailable
from penstock.results import ResultStore, StoredResult
from storage_servers import AzureServer, GoogleFront, S3Server
from store_contract import StoreContract

pytestmark = pytest.mark.usefixtures("storage_credentials")


class TestS3(StoreContract):
    """A store in a bucket."""

    @pytest.fixture
    def store(self, s3: S3Server) -> ResultStore:
        return ResultStore.from_url(s3.bucket())


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureServer]:
    found = AzureServer()
    found.start()
    yield found
    found.stop()


class TestAzure(StoreContract):
    """A store in a container."""

    @pytest.fixture
    def store(self, azure: AzureServer) -> ResultStore:
        return ResultStore.from_url(azure.bucket())


@pytest.fixture(scope="module")
def google(s3: S3Server) -> Iterator[GoogleFront]:
    with GoogleFront(s3) as found:
        yield found


@pytest.fixture
def service_account(google: GoogleFront, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs no token: the client must never look for another."""
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", google.account())


@pytest.mark.usefixtures("service_account")
class TestGoogle(StoreContract):
    """The client of Google Cloud Storage, whose XML API is that of S3."""

    @pytest.fixture
    def store(self, google: GoogleFront) -> ResultStore:
        return ResultStore.from_url(google.bucket())


@pytest.mark.usefixtures("service_account")
def test_a_bucket_of_google_that_does_not_exist_is_told_at_once(google: GoogleFront) -> None:
    store = ResultStore.from_url(f"gs://no-such-bucket/x?endpoint={google.url}", serializer="json")
    for verb in (lambda: store.write("k", 1), lambda: store.read("k"), lambda: store.exists("k")):
        with pytest.raises(StorageUnavailable, match=r"gs://no-such-bucket/x.*NoSuchBucket") as caught:
            verb()
        assert not caught.value.transient


@pytest.mark.usefixtures("service_account")
def test_the_record_is_an_object_of_the_bucket(google: GoogleFront, s3: S3Server) -> None:
    url = google.bucket()
    ResultStore.from_url(url, serializer="json").write("runs/1", [1, 2])
    bucket = url.removeprefix("gs://").partition("/")[0]
    assert (s3.folder / bucket / "some" / "prefix" / "runs" / "1").read_bytes().endswith(b"\n[1, 2]")


def test_a_container_that_does_not_exist_is_told_at_once(azure: AzureServer) -> None:
    store = ResultStore.from_url(f"az://no-such-container/x?endpoint={azure.endpoint}", serializer="json")
    for verb in (lambda: store.write("k", 1), lambda: store.read("k"), lambda: store.exists("k")):
        with pytest.raises(StorageUnavailable, match=r"az://no-such-container/x.*ContainerNotFound") as caught:
            verb()
        assert not caught.value.transient


def test_a_wrong_key_of_an_account_is_told_at_once(azure: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url, wrong = azure.bucket(), base64.b64encode(b"hunter2hunter2").decode()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(StorageUnavailable, match="AuthorizationFailure") as caught:
        ResultStore.from_url(url).write("k", 1)
    assert not caught.value.transient
    for secret in (wrong, AzureServer.KEY):
        assert secret not in str(caught.value)


def test_an_account_and_its_endpoint_may_come_from_the_environment(
    azure: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _, endpoint = azure.bucket().partition("?endpoint=")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
    store = ResultStore.from_url(url)
    store.write("k", 1)
    assert StoredResult.from_url(store.url_of("k")).get() == 1


def test_the_record_is_an_object_below_the_prefix(s3: S3Server) -> None:
    url = s3.bucket()
    store = ResultStore.from_url(url, serializer="json")
    store.write("runs/1", [1, 2])
    bucket = url.removeprefix("s3://").partition("/")[0]
    stored = (s3.folder / bucket / "some" / "prefix" / "runs" / "1").read_bytes()
    assert stored.startswith(b"penstock-result 1\n")
    assert stored.endswith(b"\n[1, 2]")
    assert StoredResult.from_url(store.url_of("runs/1")).get() == [1, 2]


def test_the_endpoint_may_come_from_the_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, _, endpoint = s3.bucket().partition("?endpoint=")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    store = ResultStore.from_url(url)
    store.write("k", 1)
    assert store.read("k") == 1


def test_a_bucket_that_does_not_exist_is_told_at_once(s3: S3Server) -> None:
    store = ResultStore.from_url(f"s3://no-such-bucket/x?endpoint=http://127.0.0.1:{s3.port}", serializer="json")
    for verb in (lambda: store.write("k", 1), lambda: store.read("k"), lambda: store.exists("k")):
        with pytest.raises(StorageUnavailable, match=r"s3://no-such-bucket/x.*NoSuchBucket") as caught:
            verb()
        assert not caught.value.transient


def test_wrong_credentials_are_told_at_once_and_not_repeated(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3.bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        with monkeypatch.context() as changed:
            changed.setenv(name, "hunter2hunter2")
            store = ResultStore.from_url(url)
            with pytest.raises(StorageUnavailable, match=r"(SignatureDoesNotMatch|access key ID)") as caught:
                store.write("k", 1)
        assert not caught.value.transient
        assert caught.value.__cause__ is None
        for secret in ("hunter2", S3Server.KEY, S3Server.SECRET):
            assert secret not in str(caught.value)


def test_a_server_that_is_down_is_tried_again_then_named(tmp_path: Path) -> None:
    """Down and up again within the pauses is not seen; down for longer names URL and cause."""
    mine = S3Server(tmp_path)
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


def test_a_task_is_cached_across_flow_runs(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads and in an event loop, with the store named by the environment as in a pod."""
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", s3.bucket())
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
