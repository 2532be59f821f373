"""Archives in a folder and in memory; the one in object storage is tested with the result storage, on a real server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from archive_contract import ArchiveContract, put
from penstock.archive.reading import Archive
from penstock.errors import ConfigurationError
from penstock.results.storage import Storage, open_storage
from penstock.results.urls import parse


class TestFolder(ArchiveContract):
    """In a folder."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(parse(f"file://{tmp_path}/archive"))

    def test_what_is_being_written_is_not_there_yet(self, storage: Storage, tmp_path: Path) -> None:
        storage.put("a/x", b"1")
        (tmp_path / "archive" / "a" / ".y.0123").write_bytes(b"half")
        assert storage.names("a") == ([], ["x"])

    def test_files_of_others_are_passed_over(self, storage: Storage, tmp_path: Path) -> None:
        put(storage, "a", "2026-01-01T06:00:00Z")
        runs = tmp_path / "archive" / "runs"
        (runs / "date=2026-01-01" / "team" / "README.md").write_text("mine")
        (runs / "lost+found").mkdir()
        archive = Archive.at(f"file://{tmp_path}/archive")
        assert [head["run"] for head in archive.runs("team", lambda _: True, 9)] == ["a"]


class TestMemory(ArchiveContract):
    """In memory."""

    @pytest.fixture
    def storage(self) -> Storage:
        return open_storage(parse(f"memory://{uuid.uuid4().hex}"))


def test_a_wrong_url_is_told_as_that_of_the_archive() -> None:
    with pytest.raises(ConfigurationError, match="there is no archive ftp://"):
        Archive.at("ftp://somewhere")
    with pytest.raises(ConfigurationError, match="the s3:// URL of the archive has credentials in it"):
        Archive.at("s3://key:secret@bucket")
