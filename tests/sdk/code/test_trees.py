"""Files of others stay within their folder and their bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.code.trees import Tree
from penstock.errors import CodeUnavailable


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", "..", "", ".", "a\\..\\b", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(CodeUnavailable, match=r"the archive has a file .* outside of its folder"):
        Tree(inside, "the archive").write(name, [b"x"])
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_files_and_their_folders_are_made(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "the archive")
    tree.write("./a/b.py", [b"x", b" = 1"])
    tree.write("run.sh", [], executable=True)
    assert (tmp_path / "a/b.py").read_bytes() == b"x = 1"
    assert (tmp_path / "run.sh").stat().st_mode & 0o100


def test_there_is_a_bound_to_bytes_and_to_files(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "the archive", max_bytes=10, max_files=2)
    tree.write("a", [b"12345"])
    with pytest.raises(CodeUnavailable, match="more than"):
        tree.write("b", iter([b"1234", b"56"]))
    with pytest.raises(CodeUnavailable, match="more than 2 files"):
        tree.write("c", [])


def test_a_name_that_is_there_already_is_an_error(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "the archive")
    tree.write("a", [b"1"])
    for name in ("a", "a/b"):
        with pytest.raises(CodeUnavailable, match="cannot be written"):
            tree.write(name, [b"2"])
    assert (tmp_path / "a").read_bytes() == b"1"
