"""The store on places at hand: memory and a folder. Object storage has the same tests against a real server."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import DamagedResult, MissingResult, SerializationError, StorageUnavailable
from penstock.results import ResultStore, StoredResult
from penstock.results.keys import path_of
from penstock.results.urls import parse
from store_contract import StoreContract


class TestMemory(StoreContract):
    """A store in this process' memory."""

    @pytest.fixture
    def store(self) -> ResultStore:
        return ResultStore.from_url(f"memory://{uuid.uuid4()}")


class TestFolder(StoreContract):
    """A store in a folder that does not exist yet."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ResultStore:
        return ResultStore.from_url(f"{tmp_path}/not/there yet")


class Flaky:
    """A place that fails so many times before it works."""

    url = parse("memory://flaky")

    def __init__(self, failures: int, transient: bool = True) -> None:
        self.left, self.transient, self.calls = failures, transient, 0
        self.data: bytes | None = None

    def _maybe_fail(self) -> None:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise StorageUnavailable("connection refused", transient=self.transient)

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        self._maybe_fail()
        return self.data

    def put(self, path: str, data: bytes) -> None:
        self._maybe_fail()
        self.data = data

    def delete(self, path: str) -> None:
        self._maybe_fail()


def flaky(place: Flaky) -> ResultStore:
    return ResultStore(place, retry_delays=(0, 0))  # type: ignore[arg-type]


def test_a_failure_that_passes_is_not_seen() -> None:
    place = Flaky(2)
    store = flaky(place)
    store.write("k", 1)
    place.left = 2
    assert store.read("k") == 1
    assert place.calls == 6


def test_a_failure_that_stays_names_place_and_cause() -> None:
    place = Flaky(9)
    with pytest.raises(
        StorageUnavailable,
        match=r"storage memory://flaky cannot be written \(tried 3 times\): connection refused\. Check its",
    ) as caught:
        flaky(place).write("k", 1)
    assert place.calls == 3
    assert caught.value.transient
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        flaky(place).exists("k")


def test_a_failure_that_cannot_pass_is_not_tried_again() -> None:
    place = Flaky(9, transient=False)
    with pytest.raises(StorageUnavailable, match="cannot be read: connection refused"):
        flaky(place).find("k")
    assert place.calls == 1


def test_the_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("penstock.results.store.sleep", pauses.append)
    with pytest.raises(StorageUnavailable):
        ResultStore(Flaky(9), retry_delays=(1, 10)).read("k")  # type: ignore[arg-type]
    assert 1 <= pauses[0] <= 1.5
    assert 10 <= pauses[1] <= 15


def test_what_cannot_be_serialised_writes_nothing(tmp_path: Path) -> None:
    store = ResultStore.from_url(str(tmp_path / "r"), serializer="json")
    with pytest.raises(SerializationError):
        store.write("k", object())
    assert not (tmp_path / "r").exists()


def test_a_damaged_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error for whoever reads it, a miss with a warning for a cache."""
    store = ResultStore.from_url(str(tmp_path))
    store.write("k", "value")
    file = tmp_path / path_of("k")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedResult, match=rf"file://{tmp_path}/k is damaged: .*; delete it"):
        store.read("k")
    with caplog.at_level(logging.WARNING):
        assert store.find("k") is None
    assert "is damaged" in caplog.text
    assert "it counts as missing" in caplog.text
    file.write_bytes(b"")
    assert not store.exists("k")


def test_stores_are_read_with_whatever_wrote_the_record(tmp_path: Path) -> None:
    ResultStore.from_url(str(tmp_path), serializer="compressed/json").write("k", [1])
    assert ResultStore.from_url(str(tmp_path)).read("k") == [1]


def test_a_reference_is_read_by_its_url(tmp_path: Path) -> None:
    store = ResultStore.from_url(str(tmp_path / "a b"))
    store.write("some/key of mine", 5)
    url = store.url_of("some/key of mine")
    assert url == f"file://{tmp_path}/a%20b/some/key=20of=20mine"
    assert StoredResult.from_url(url).get() == 5
    reference = store.reference("some/key of mine")
    assert pickle.loads(pickle.dumps(reference)).get() == 5
    store.delete("some/key of mine")
    with pytest.raises(MissingResult, match="key=20of=20mine"):
        reference.get()


def test_the_async_verbs() -> None:
    store = ResultStore.from_url("memory://async")

    async def main() -> Any:
        await store.awrite("k", 3, expiration=time.time() + 60)
        return await store.aread("k"), await store.aexists("k"), await store.aexists("other")

    assert asyncio.run(main()) == (3, True, False)
