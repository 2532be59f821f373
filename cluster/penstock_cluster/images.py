"""Images of the node, without a registry: a base made of Debian packages, builds by buildah, loading into containerd.

Archives and buildah's layers are kept in the cache, under a key of what they were made from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import packages
from .layout import Layout, cache
from .shell import progress, run, say

SUITE = "bookworm"
INCLUDE = "python3,python3-pip,ca-certificates"
# What a container never reads; Python's own caches are made anew, so that they are valid.
STRIP = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists")
_RECIPE = hashlib.sha256(f"{SUITE} {INCLUDE} {STRIP} 2".encode()).hexdigest()[:12]
BASE = f"localhost/penstock-base:{_RECIPE}"


def _buildah(*words: str | Path) -> str:
    store = cache() / "buildah"
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    return run("buildah", "--root", store / "root", "--runroot", store / "run", *words, env=environment)


def _has(tag: str) -> bool:
    return bool(_buildah("images", "--quiet", "--filter", f"reference={tag}").strip())


def base() -> str:
    """Name of the base image: Debian with python3, built when its recipe changed."""
    packages.ensure()
    if _has(BASE):
        return BASE
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as folder:
        root = Path(folder) / "root"
        with progress(f"building the base image from Debian {SUITE} (a minute or two)"):
            run("debootstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, root)
            for name in STRIP:
                shutil.rmtree(root / name, ignore_errors=True)
            for file in (root / "var/cache").rglob("*.bin"):
                file.unlink()
            container = _buildah("from", "--name", f"base-{_RECIPE}", "scratch").strip()
            _buildah("add", container, root, "/")
            _buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--env", "LANG=C.UTF-8", container)
            _buildah("commit", "--rm", container, BASE)
    return BASE


def pause_archive() -> Path:
    """Archive of the image whose only process holds a pod's namespaces."""
    archive = _folder("images") / "pause.tar"
    if not archive.exists():
        container = _buildah("from", "scratch").strip()
        _buildah("copy", container, "/usr/bin/catatonit", "/pause")
        _buildah("config", "--entrypoint", '["/pause", "-P"]', container)
        _buildah("commit", "--rm", container, "localhost/pause:local")
        _export("localhost/pause:local", archive)
    return archive


def build(
    layout: Layout, tag: str, file: Path, context: Path, arguments: Mapping[str, str], *, load_it: bool = False
) -> Path:
    """Build an image by its Dockerfile, export it to the cache, and load it into the cluster where asked."""
    arguments = {"BASE": arguments.get("BASE") or base(), **arguments}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    with progress(f"building {tag}"):
        _buildah("bud", "--layers", "--pull-never", *words, "--tag", tag, "--file", file, context)
    identity = _buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={tag}").split()[0].partition(":")[2]
    archive = _folder("images") / f"{tag.rpartition('/')[2].replace(':', '-')}-{identity[:16]}.tar"
    if not archive.exists():
        for old in archive.parent.glob(f"{tag.rpartition('/')[2].replace(':', '-')}-*.tar"):
            old.unlink()
        _export(tag, archive)
    if load_it:
        load(layout, tag, archive)
    return archive


def load(layout: Layout, tag: str, archive: Path) -> None:
    """Load an archive into the cluster's containerd; what is loaded already is not loaded again."""
    from . import kind

    if kind.made(layout):
        kind.load(layout, archive)
        return
    marks = layout.state / "loaded"
    marks.mkdir(exist_ok=True)
    mark = marks / tag.replace("/", "_")
    if mark.exists() and mark.read_text() == str(archive):
        return
    run("ctr", "--address", layout.containerd_socket, "--namespace", "k8s.io", "images", "import", archive)
    mark.write_text(str(archive))
    say(f"loaded {tag}")


def _export(tag: str, archive: Path) -> None:
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    _buildah("push", "--disable-compression", tag, f"docker-archive:{part}:{tag}")
    part.rename(archive)


def _folder(name: str) -> Path:
    folder = cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
