"""A folder: atomic, and clear about what is wrong with it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError, StorageUnavailable
from penstock.results.folder import Folder
from penstock.results.urls import parse


def folder(path: Path | str, options: str = "") -> Folder:
    return Folder(parse(f"file://{path}{options}"))


def test_nothing_but_the_record_is_left(tmp_path: Path) -> None:
    folder(tmp_path).put("a/b", b"1")
    folder(tmp_path).put("a/b", b"2")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a" / "b").read_bytes() == b"2"


def test_a_write_that_fails_leaves_the_old_record_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(tmp_path)
    place.put("k", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "k")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageUnavailable, match="No space left on device: k") as caught:
        place.put("k", b"new")
    assert caught.value.transient
    assert [p.name for p in tmp_path.iterdir()] == ["k"]
    assert place.get("k") == b"old"


def test_a_file_where_the_folder_should_be_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for operation in (lambda f: f.put("k", b""), lambda f: f.get("k"), lambda f: f.delete("k")):
        with pytest.raises(StorageUnavailable) as caught:
            operation(folder(tmp_path / "file" / "below"))
        assert not caught.value.transient


def test_a_key_cannot_be_the_folder_of_another(tmp_path: Path) -> None:
    folder(tmp_path).put("a/b", b"")
    assert folder(tmp_path).get("a") is None
    with pytest.raises(StorageUnavailable, match="Is a directory") as caught:
        folder(tmp_path).put("a", b"")
    assert not caught.value.transient


def test_the_disk_is_waited_for_only_where_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    folder(tmp_path).put("k", b"")
    assert synced == []
    folder(tmp_path, "?fsync=true").put("k", b"")
    assert len(synced) == 2  # the file and its name


def test_fsync_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="fsync is true or false, not 'yes'"):
        folder("/x", "?fsync=yes")
