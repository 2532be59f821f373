"""Which names an archive brings, and what is said about one that cannot be loaded."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from penstock_cluster import images
from penstock_cluster.layout import ClusterError, Layout


def archive(path: Path, **members: Any) -> Path:
    """A tar of JSON files."""
    with tarfile.open(path, "w") as tar:
        for name, value in members.items():
            content = json.dumps(value).encode()
            entry = tarfile.TarInfo(f"{name}.json")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_tags_of_a_docker_archive(tmp_path: Path) -> None:
    """Docker's form lists them in manifest.json."""
    path = archive(tmp_path / "a.tar", manifest=[{"RepoTags": ["localhost/a:1", "localhost/a:2"]}, {"RepoTags": None}])
    assert images.archive_tags(path) == ["localhost/a:1", "localhost/a:2"]


def test_tags_of_an_oci_archive(tmp_path: Path) -> None:
    """OCI's form has them as annotations, of which containerd's own goes first."""
    reference, own = "org.opencontainers.image.ref.name", "io.containerd.image.name"
    manifests = [{"annotations": {reference: "localhost/a:1"}}, {"annotations": {reference: "1", own: "b:1"}}, {}]
    path = archive(tmp_path / "a.tar", index={"manifests": manifests})
    assert images.archive_tags(path) == ["localhost/a:1", "b:1"]


@pytest.mark.parametrize("content", [b"no tar at all", b""], ids=["text", "empty"])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """The message names the file."""
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ClusterError, match=r"a\.tar is no image archive"):
        images.archive_tags(tmp_path / "a.tar")


def test_loading_says_what_is_missing(tmp_path: Path) -> None:
    """No file, no name, no cluster: each has its own message."""
    layout = Layout(tmp_path)
    with pytest.raises(ClusterError, match="does not exist"):
        images.load(layout, tmp_path / "a.tar")
    with pytest.raises(ClusterError, match="names no image"):
        images.load(layout, archive(tmp_path / "b.tar", index={"manifests": [{}]}))
    with pytest.raises(ClusterError, match="make cluster"):
        images.load(layout, archive(tmp_path / "c.tar", manifest=[{"RepoTags": ["localhost/a:1"]}]))
