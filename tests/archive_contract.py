"""What every place keeps to in which an archive may be. Subclasses give the fixture `storage`, which is empty."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from penstock.archive import record
from penstock.archive.logs import LogAddress, LogTail
from penstock.archive.reading import HEAD_BYTES, Archive
from penstock.errors import StorageUnavailable
from penstock.results.storage import Storage

Json = dict[str, Any]


def put(storage: Storage, name: str, ended: str, state: str = "Completed", number: int = 1, **status: Any) -> Json:
    """A run in the archive."""
    run = builders.flow_run(state, endTime=ended, **status)
    run["metadata"] |= {"name": name, "uid": f"0a1b2c3d-0000-4000-8000-{number:012x}"}
    storage.put(record.address(run).path, record.pack(record.lines(run, [], [])))
    return run


class ArchiveContract:
    """Tests for an archive in one place."""

    def test_names_are_those_of_one_level(self, storage: Storage) -> None:
        assert storage.names("a") == ([], [])
        for path in ("a/x", "a/b/y", "a/b/z", "a/c/d/e", "ab/f"):
            storage.put(path, b"1")
        assert storage.names("a") == (["b", "c"], ["x"])
        assert storage.names("a/b") == ([], ["y", "z"])

    def test_an_empty_archive_has_no_runs(self, storage: Storage) -> None:
        archive = Archive(storage)
        assert archive.days() == []
        assert archive.runs("team", lambda _: True, 10) == []
        assert archive.find("team", "a") is None

    def test_the_latest_runs_come_first_within_the_days_that_are_wanted(self, storage: Storage) -> None:
        put(storage, "a", "2026-01-01T06:00:00Z", number=1)
        put(storage, "b", "2026-01-02T08:00:00Z", number=2)
        put(storage, "c", "2026-01-02T07:00:00Z", "Failed", number=3)
        put(storage, "d", "2026-01-03T07:00:00Z", number=4)
        archive = Archive(storage)

        def found(limit: int = 10, **days: str) -> list[str]:
            return [head["run"] for head in archive.runs("team", lambda _: True, limit, **days)]

        assert found() == ["d", "b", "c", "a"]
        assert found(2) == ["d", "b"]
        assert found(since="2026-01-02", until="2026-01-02") == ["b", "c"]
        assert [head["run"] for head in archive.runs("team", lambda head: head["state"] == "Failed", 10)] == ["c"]
        assert archive.runs("other", lambda _: True, 10) == []

    def test_a_run_is_found_by_its_name_the_latest_of_it(self, storage: Storage) -> None:
        put(storage, "a", "2026-01-01T06:00:00Z", number=1)
        put(storage, "a", "2026-01-02T06:00:00Z", number=3)
        put(storage, "a", "2026-01-02T07:00:00Z", number=2)
        put(storage, "a-1", "2026-01-03T06:00:00Z", number=4)
        archive = Archive(storage)
        address = archive.find("team", "a")
        assert address is not None
        assert address.uid.endswith("2")
        assert [line["run_uid"] for line in archive.lines(address)] == [address.uid]
        earlier = archive.find("team", "a", until="2026-01-01")
        assert earlier is not None
        assert earlier.uid.endswith("1")

    def test_the_log_of_an_attempt_is_found_the_last_one_of_the_latest_run(self, storage: Storage) -> None:
        uids = [f"0a1b2c3d-0000-4000-8000-{number:012x}" for number in range(2)]
        addresses = [
            LogAddress("2026-01-01", "team", "a", uids[0], 1),
            LogAddress("2026-01-02", "team", "a", uids[0], 2),
            LogAddress("2026-01-02", "team", "a", uids[0], 10, "abcde"),
            LogAddress("2026-01-02", "team", "a", uids[0], 10, "fghij"),
            LogAddress("2026-01-03", "team", "a", uids[1], 1),
            LogAddress("2026-01-04", "team", "a-1", uids[1], 1),
        ]
        for address in addresses:
            tail = LogTail(address)
            tail.feed(f"2026-01-01T06:00:00Z {address.path}\n".encode())
            storage.put(address.path, tail.packed())
        archive = Archive(storage)
        assert archive.logs("team", "a") == [addresses[4]]
        assert archive.logs("team", "a", uids[0]) == addresses[2:4]
        assert archive.logs("team", "a", uids[0], 1) == [addresses[0]]
        assert archive.logs("team", "a", uids[0], since="2026-01-01", until="2026-01-01") == [addresses[0]]
        assert archive.logs("team", "a", uids[0], 3) == []
        assert archive.logs("other", "a") == []
        assert [line["text"] for line in archive.log(addresses[0])] == [addresses[0].path]
        assert archive.log(addresses[0]._replace(attempt=7)) == []
        assert archive.days() == [], "they are no runs"

    def test_a_run_larger_than_what_is_looked_at_first(self, storage: Storage) -> None:
        noise = [str(hash((n, "noise"))) for n in range(8000)]
        run = put(storage, "big", "2026-01-01T06:00:00Z", result={"inline": noise})
        archive = Archive(storage)
        address = archive.find("team", "big")
        assert address is not None
        assert len(storage.get(address.path) or b"") > HEAD_BYTES
        head = archive.head(address)
        assert head is not None
        assert head["object"]["status"]["result"] == run["status"]["result"]

    def test_a_damaged_record_is_told_with_its_place(self, storage: Storage) -> None:
        run = put(storage, "a", "2026-01-01T06:00:00Z")
        path = record.address(run).path
        storage.put(path, b"not gzip")
        with pytest.raises(StorageUnavailable, match=f"{path}: a damaged record"):
            Archive(storage).runs("team", lambda _: True, 1)
