"""Folders by content: made once, never seen half made, deleted only when nobody uses them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.code import folders
from penstock.code.folders import kept
from penstock.errors import CodeUnavailable
from penstock.settings import temporary_settings

USE = "from penstock.code.folders import kept; kept('git', '{}', lambda folder: None)"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path) -> Iterator[Path]:
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield tmp_path / "cache"


def fill(folder: Path) -> None:
    (folder / "made").write_text("once")


def never(folder: Path) -> None:
    raise AssertionError("it is there already")


def test_a_folder_is_made_once() -> None:
    first = kept("git", "abc", fill)
    assert (first / "made").read_text() == "once"
    assert kept("git", "abc", never) == first


def test_kinds_are_kept_apart() -> None:
    assert kept("git", "abc", fill) != kept("archive", "abc", fill)


def test_many_at_once_make_it_once() -> None:
    made = []

    def slowly(folder: Path) -> None:
        made.append(folder)
        fill(folder)

    threads = [threading.Thread(target=kept, args=("git", "abc", slowly)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_who_finds_nothing_at_the_same_time_waits_for_the_folder_and_not_for_its_user(cache: Path) -> None:
    """A third has looked as well, and keeps all of them from going on at once."""
    (cache / "git").mkdir(parents=True)
    with (cache / "git" / ".abc.lock").open("w") as third:
        fcntl.flock(third, fcntl.LOCK_SH)
        threads = [threading.Thread(target=kept, args=("git", "abc", fill), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # until all have found nothing; one that is slower only has less to wait for
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_what_fails_half_way_leaves_nothing_and_is_tried_again(cache: Path) -> None:
    def half(folder: Path) -> None:
        fill(folder)
        raise CodeUnavailable("no network")

    with pytest.raises(CodeUnavailable, match="no network"):
        kept("git", "abc", half)
    assert sorted(path.name for path in (cache / "git").iterdir()) == [".abc.lock", ".abc.making"]
    assert kept("git", "abc", fill).is_dir()


def test_the_longest_unused_goes_unless_a_process_uses_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "KEPT", 2)
    other = subprocess.Popen(
        [sys.executable, "-c", f"{USE.format('used')}; input()"],
        env={**os.environ, "PENSTOCK_CODE_CACHE": str(cache)},
        stdin=subprocess.PIPE,
    )
    try:
        for _ in range(200):
            if (cache / "git" / "used").is_dir():
                break
            threading.Event().wait(0.05)
        for name in ("old", "idle"):
            subprocess.run(
                [
                    sys.executable,
                    "-c",
                    f"from penstock.code.folders import kept; kept('git', '{name}', lambda f: None)",
                ],
                env={**os.environ, "PENSTOCK_CODE_CACHE": str(cache)},
                check=True,
            )
        for age, name in enumerate(("idle", "old", "used")):
            os.utime(cache / "git" / name, (1000 - age, 1000 - age))
        kept("git", "new", fill)
        left = sorted(path.name for path in (cache / "git").iterdir() if not path.name.startswith("."))
        assert left == ["idle", "new", "used"]
    finally:
        other.communicate(b"\n")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        temporary_settings(code_cache=str(tmp_path / "file")),
        pytest.raises(CodeUnavailable, match="set PENSTOCK_CODE_CACHE"),
    ):
        kept("git", "abc", fill)


def test_without_a_setting_it_is_ones_own_folder_of_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    with temporary_settings(code_cache=""):
        folder = kept("git", "abc", fill)
    assert folder.is_relative_to(tmp_path / f"penstock-code-{os.getuid()}")
    assert folder.parents[1].stat().st_mode & 0o777 == 0o700
