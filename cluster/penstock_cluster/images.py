"""Images of the node, without a registry: a base made of Debian packages, builds by buildah, loading into containerd.

Archives and buildah's layers are kept in the cache, under a key of what they were made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import kind, packages
from .layout import ClusterError, Layout, cache
from .shell import locked, progress, run, say

PAUSE = "localhost/pause:local"
SUITE = "bookworm"
INCLUDE = "python3,python3-pip,ca-certificates"
# What a container never reads; Python's own caches are made anew, so that they are valid.
STRIP = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists")
_RECIPE = hashlib.sha256(f"{SUITE} {INCLUDE} {STRIP} 2".encode()).hexdigest()[:12]
BASE = f"localhost/penstock-base:{_RECIPE}"


def base() -> str:
    """Name of the base image: Debian with python3, built when its recipe changed."""
    packages.ensure()
    with locked("images"):
        if not _identity(BASE):
            _build_base()
    return BASE


def _build_base() -> None:
    mirror = (os.environ["PENSTOCK_DEBIAN_MIRROR"],) if os.environ.get("PENSTOCK_DEBIAN_MIRROR") else ()
    with (
        tempfile.TemporaryDirectory(dir=_folder("tmp")) as folder,
        progress(f"building the base image from Debian {SUITE} (a minute or two)"),
    ):
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, root, *mirror)
        for name in STRIP:
            shutil.rmtree(root / name, ignore_errors=True)
        for file in (root / "var/cache").rglob("*.bin"):
            file.unlink()
        container = _buildah("from", "scratch").strip()
        _buildah("add", container, root, "/")
        _buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--env", "LANG=C.UTF-8", container)
        _buildah("commit", "--rm", container, BASE)


def pause_archive() -> Path:
    """Archive of the image whose only process holds a pod's namespaces."""
    archive = _folder("images") / "pause.tar"
    with locked("images"):
        if not archive.exists():
            container = _buildah("from", "scratch").strip()
            _buildah("copy", container, "/usr/bin/catatonit", "/pause")
            _buildah("config", "--entrypoint", '["/pause", "-P"]', container)
            _buildah("commit", "--rm", container, PAUSE)
            _export(PAUSE, archive)
    return archive


def build(
    layout: Layout, tag: str, file: Path, context: Path, arguments: Mapping[str, str], *, load_it: bool = False
) -> Path:
    """Build an image by its Dockerfile, export it to the cache, and load it into the cluster where asked."""
    tag = tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"
    arguments = {"BASE": arguments.get("BASE") or base(), **arguments}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    with progress(f"building {tag}"), locked("images"):
        _buildah("bud", "--layers", "--pull-never", *words, "--tag", tag, "--file", file, context)
        stem = tag.replace("/", "_").replace(":", "-")
        archive = _folder("images") / f"{stem}-{_identity(tag)[:16]}.tar"
        if not archive.exists():
            _export(tag, archive)
            for old in archive.parent.glob(f"{stem}-????????????????.tar"):
                if old != archive:
                    old.unlink()
    if load_it:
        load(layout, archive)
    return archive


def load(layout: Layout, archive: Path) -> None:
    """Load an archive (OCI or Docker) into the cluster; what is loaded already is not loaded again."""
    if not archive.exists():
        raise ClusterError(f"{archive} does not exist")
    if kind.made(layout):
        kind.load(layout, archive)
        return
    tags = archive_tags(archive)
    if not tags:
        raise ClusterError(f"{archive} names no image: export it with a tag")
    if not layout.containerd_socket.exists():
        raise ClusterError("no cluster to load the image into: make cluster")
    marks = layout.state / "loaded"
    marks.mkdir(exist_ok=True)
    mark, size = marks / tags[0].replace("/", "_"), archive.stat()
    # What was imported, and what containerd made of it: either may have changed since.
    wanted = [str(archive.resolve()), size.st_size, size.st_mtime_ns, _loaded(layout, tags)]
    if mark.exists() and mark.read_text() == json.dumps(wanted):
        return
    _ctr(layout, "images", "import", str(archive))
    mark.write_text(json.dumps([*wanted[:3], _loaded(layout, tags)]))
    say(f"loaded {', '.join(tags)}")


def archive_tags(archive: Path) -> list[str]:
    """The names under which an archive's images are loaded."""
    try:
        with tarfile.open(archive) as tar:
            names = set(tar.getnames())
            if "manifest.json" in names:  # Docker's form
                return [tag for image in _member(tar, "manifest.json") for tag in image.get("RepoTags") or ()]
            manifests = _member(tar, "index.json")["manifests"]
    except (tarfile.TarError, KeyError) as error:
        raise ClusterError(f"{archive} is no image archive of OCI or Docker: {error}") from None
    return [name for manifest in manifests if (name := _name(manifest.get("annotations") or {}))]


def _name(annotations: Mapping[str, str]) -> str | None:
    own = annotations.get("io.containerd.image.name")
    return own or annotations.get("org.opencontainers.image.ref.name")


def _member(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    assert file is not None
    return json.load(file)


def _loaded(layout: Layout, tags: Iterable[str]) -> list[str]:
    """Name and digest of those of `tags` that containerd holds."""
    lines = _ctr(layout, "images", "list", *(f"name=={tag}" for tag in tags)).splitlines()[1:]
    return sorted(f"{words[0]} {words[2]}" for words in (line.split() for line in lines))


def _ctr(layout: Layout, *words: str) -> str:
    return run("ctr", "--address", layout.containerd_socket, "--namespace", "k8s.io", *words)


def _buildah(*words: str | Path) -> str:
    store = cache() / "buildah"
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    return run("buildah", "--root", store / "root", "--runroot", store / "run", *words, env=environment)


def _identity(tag: str) -> str:
    """The id of an image in buildah's store, empty when it is not there."""
    found = _buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={tag}").split()
    return found[0].partition(":")[2] if found else ""


def _export(tag: str, archive: Path) -> None:
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    _buildah("push", "--disable-compression", tag, f"docker-archive:{part}:{tag}")
    part.rename(archive)


def _folder(name: str) -> Path:
    folder = cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
