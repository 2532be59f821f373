"""Installs what a flow needs besides what is in the image: once for each set of lines, as a layer on sys.path.

By uv (`pip install "penstock[requirements]"`, or any uv on PATH), which is told by its own environment variables which
index to ask: UV_DEFAULT_INDEX, UV_INDEX, UV_FIND_LINKS, UV_OFFLINE. A layer never holds another version of what
Penstock itself has loaded: such a line is refused.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from ..api.delivery import REQUIREMENT
from ..errors import RequirementsFailed
from .folders import kept

TIMEOUT = 1800.0  # seconds
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS")
SAID = 600  # characters of uv's words in an error
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWN = "penstock"
_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


def installed(lines: Sequence[str]) -> Path:
    """The folder in which the requirements are installed for this interpreter. Raises RequirementsFailed."""
    for line in lines:
        if not re.fullmatch(REQUIREMENT, line):
            raise RequirementsFailed(
                f"spec.requirements: {line[:SAID]!r} is an option, or no single line: name a package in each; an index "
                "is told by the pool's environment (UV_DEFAULT_INDEX)"
            )
    loaded = _loaded()

    def fill(folder: Path) -> None:
        _install(lines, loaded, folder)

    return kept("requirements", key(lines, loaded), fill)


def key(lines: Iterable[str], loaded: Iterable[str] = ()) -> str:
    """What a layer is known by: its lines, in whatever order, the interpreter, where they come from, what is loaded."""
    hashed = hashlib.sha256()
    tag = f"{sys.implementation.cache_tag} {sysconfig.get_platform()} {platform.libc_ver()[0]}"
    indexes = (_CREDENTIALS.sub(r"\1", os.environ.get(name, "")) for name in INDEXES)
    for part in (tag, *sorted(set(lines)), "", *indexes, "", *loaded):
        hashed.update(f"{part}\n".encode())
    return hashed.hexdigest()


def blamed(lines: Sequence[str], said: str) -> list[str]:
    """The lines that uv's words are about: named by them, or at the position that they give."""
    position = re.search(r"at position (\d+)", said)
    if position:
        at = int(position.group(1))
        for line in lines:
            at -= len(line) + 1
            if at < 0:
                return [line]
    required = re.findall(r"you require ([A-Za-z0-9._-]+)", said)
    words = {_normal(word) for word in required or _NAME.findall(said)}
    return [line for line in lines if (name := _NAME.match(line)) and _normal(name[0]) in words]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).strip("-").lower()


def _install(lines: Sequence[str], loaded: Sequence[str], folder: Path) -> None:
    # Its other files stand beside the layer, in the folder that is renamed away from them.
    aside = folder.parent
    for name, text in (("requirements.txt", lines), ("constraints.txt", loaded), ("excludes.txt", [_OWN])):
        (aside / name).write_text("".join(f"{line}\n" for line in text))
    _refuse_another_penstock(lines)
    words = [
        *(*_uv(), "pip", "install", "--target", str(folder), "--python", sys.executable, "--no-progress"),
        *("--color", "never", "--no-config", "--requirements", str(aside / "requirements.txt")),
        *("--constraints", str(aside / "constraints.txt"), "--excludes", str(aside / "excludes.txt")),
    ]
    environment = {"UV_CACHE_DIR": str(folder.parents[2] / "uv"), **os.environ}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except OSError as error:
        raise RequirementsFailed(f"spec.requirements: uv cannot be started: {error}") from error
    except subprocess.TimeoutExpired:
        raise RequirementsFailed(f"spec.requirements: they were not installed in {TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        raise RequirementsFailed(explained(lines, done.stderr))


def explained(lines: Sequence[str], stderr: str) -> str:
    """What went wrong, in a line that names those of the requirements."""
    said = _CREDENTIALS.sub(r"\1…@", " ".join(stderr.partition("error:")[2].split() or stderr.split()))
    guilty = blamed(lines, stderr)
    which = ", ".join(repr(line) for line in guilty[:5]) if guilty else f"one of {len(lines)} lines"
    return f"spec.requirements: {which} cannot be installed: {said[:SAID]}"


def _refuse_another_penstock(lines: Iterable[str]) -> None:
    """A line for Penstock itself means the one that runs; `==` of another version cannot be had."""
    here = metadata.version(_OWN)
    for line in lines:
        name = _NAME.match(line)
        asked = re.search(r"==\s*([^\s,;]+)", line)
        if name and _normal(name[0]) == _OWN and asked and asked[1] != here:
            raise RequirementsFailed(
                f"spec.requirements: {line!r}: the image has Penstock {here}, which runs the flow; leave the line out, "
                "or set an image that has the other"
            )


def _uv() -> list[str]:
    """The command of uv: the package's own program, or one on PATH."""
    import shutil

    try:
        from uv import find_uv_bin

        return [find_uv_bin()]
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise RequirementsFailed(
            'spec.requirements: the image has no uv to install them with: pip install "penstock[requirements]" there'
        )
    return [found]


def _loaded() -> list[str]:
    """Distributions that are imported already, as constraints: nothing could make them another version any more."""
    found = set()
    by_module = metadata.packages_distributions()
    for module in {name.partition(".")[0] for name in sys.modules}:
        for name in by_module.get(module, ()):
            if _normal(name) != _OWN:
                found.add(f"{name}=={metadata.version(name)}")
    return sorted(found)
