"""Makes the code of an attempt importable: what is mounted is named, the rest is fetched, requirements come first.

Called by the process of a run before it loads its flow or task, in a pod and in a worker's child; it keeps nothing
but what it puts on sys.path. What a branch or an archive turned out to be is told, so that later attempts get the same.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..api.delivery import pinned
from ..errors import CodeUnavailable
from .assignment import Assignment
from .status import say

if TYPE_CHECKING:
    from pathlib import Path  # dear: imported where there is code to fetch


class Delivered(NamedTuple):
    """Where the code is: in a file of its own, in a pickle, or (with neither) importable by its name."""

    source: str | None = None
    pickled: str | None = None


def deliver(assignment: Assignment, run: Mapping[str, Any], found: Callable[[dict[str, Any]], object]) -> Delivered:
    """Put the code of the run where it can be imported. Raises PenstockError, whose reason and message say why not.

    `found` is told the commit or the digest before anything of it is run, where the run does not name one.
    """
    status = run["status"]
    resolved = status.get("resolved") or {"code": {"kind": "source" if assignment.code else "image"}}
    code = pinned(resolved, status.get("code"))["code"]
    kind = code["kind"]
    if kind == "bundle":
        from ..code import bundle

        bundle.check(code["pythonVersion"], code["penstockVersion"])
    if assignment.requirements:
        _install(assignment.requirements)
    if kind == "bundle":
        return _bundle(assignment, code)
    if kind == "git":
        from ..code import git

        folder, commit = git.fetch(code["url"], code.get("ref") or "HEAD", secret(assignment))
        _tell(status, {"commit": commit}, found)
        say(f"code is commit {commit} of {code['url']}")
        _put_on_path(folder, code.get("path"), "git")
    elif kind == "archive":
        from ..code import archives

        folder, digest = archives.fetch(code["url"], code.get("digest"), secret(assignment))
        _tell(status, {"digest": digest}, found)
        _put_on_path(folder, code.get("path"), "archive")
    return Delivered(source=assignment.code if kind == "source" else None)


def secret(assignment: Assignment) -> dict[str, str]:
    """What the mounted Secret of the code holds; nothing where there is none."""
    if not assignment.code_secret:
        return {}
    from pathlib import Path

    folder = Path(assignment.code_secret)
    return {path.name: path.read_text().strip() for path in folder.iterdir() if not path.name.startswith("..")}


def _tell(status: Mapping[str, Any], what: dict[str, Any], found: Callable[[dict[str, Any]], object]) -> None:
    if status.get("code") is None:
        found(what)


def _bundle(assignment: Assignment, code: Mapping[str, Any]) -> Delivered:
    from pathlib import Path

    from ..code import bundle

    if code.get("url"):
        data = bundle.fetch(code["url"], code["digest"], secret(assignment))
    else:
        data = Path(assignment.code or "").read_bytes()
    folder = bundle.unpack(data)
    sys.path.insert(0, str(folder / bundle.MODULES))
    return Delivered(pickled=str(folder / bundle.FLOW))


def _install(path: str) -> None:
    from pathlib import Path

    from ..code import requirements

    began = time.monotonic()
    lines = Path(path).read_text().splitlines()
    layer = requirements.installed(lines)
    say(f"{len(lines)} requirements are at {layer}, after {time.monotonic() - began:.1f} s")
    sys.path.insert(0, str(layer))


def _put_on_path(folder: Path, path: str | None, field: str) -> None:
    wanted = folder / path if path else folder
    if not wanted.is_dir():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:20])
        raise CodeUnavailable(f"spec.code.{field}.path: there is no folder {path} in it; at its top are {there}")
    for place in dict.fromkeys((folder, wanted)):  # what is named from the top is found as well
        sys.path.insert(0, os.fspath(place))
