"""The options of `build` and `deploy` that say how the code reaches its runs, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import click

from ..api.delivery import REQUIREMENT
from ..api.flow import ArchiveCode, Code, GitCode
from ..api.schema import ObjectReference
from ..bundling import bundled
from ..flows import Flow
from ..manifests import CannotBeDeployed, told

NAMES = ("bundle", "git", "ref", "archive", "code_path", "code_secret", "requirements")
_NAMED = re.compile(REQUIREMENT)


def code_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them."""
    for option in reversed(
        (
            click.option("--bundle", is_flag=True, help="Deliver the flow with the local modules it imports."),
            click.option("--git", metavar="URL", help="Runs fetch the code from this repository."),
            click.option("--ref", help="Branch, tag or commit of --git; its default branch when unset."),
            click.option("--archive", metavar="URL", help="Runs fetch the code as this archive in object storage."),
            click.option("--code-path", help="Folder of --git or --archive that FILE.py is in; as here when unset."),
            click.option("--code-secret", metavar="NAME", help="Secret with the credentials of --git or --archive."),
            click.option(
                "-r",
                "--requirements",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="A requirements.txt that is installed for its runs.",
            ),
        )
    ):
        command = option(command)
    return command


def code_of(flow: Flow[Any, Any], target: str, given: dict[str, Any]) -> Code | None:
    """The code that the options say; None for none of them. Raises UsageError for those that exclude each other."""
    forms = [f"--{name.replace('_', '-')}" for name in ("bundle", "git", "archive", "from_image") if given.get(name)]
    if len(forms) > 1:
        raise click.UsageError(f"{' and '.join(forms)}: code reaches a run in one way; leave all but one out")
    for name, needs in (("ref", ("git",)), ("code_path", ("git", "archive")), ("code_secret", ("git", "archive"))):
        if given.get(name) and not any(given.get(other) for other in needs):
            raise click.UsageError(f"--{name.replace('_', '-')} is for {' and '.join(f'--{other}' for other in needs)}")
    if given.get("bundle"):
        return bundled(flow)
    if not (given.get("git") or given.get("archive")):
        return None
    reference = ObjectReference(name=given["code_secret"]) if given.get("code_secret") else None
    path = given.get("code_path") or _folder(target)
    with told("flow", flow.name):
        if given.get("git"):
            return Code(git=GitCode(url=given["git"], ref=given.get("ref") or "HEAD", path=path, secret_ref=reference))
        return Code(archive=ArchiveCode(url=given["archive"], path=path, secret_ref=reference))


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line).replace("\t", " ").strip()


def requirements_of(file: Path | None) -> list[str]:
    """The lines of a requirements.txt, without comments. Raises CannotBeDeployed for options of pip among them."""
    lines = [] if file is None else file.read_text().splitlines()
    found = [line for line in map(_without_comment, lines) if line]
    broken = [line for line in found if line.endswith("\\")]
    if broken:
        raise CannotBeDeployed(f"{file}: {broken[0]!r} goes on in the next line: write it in one")
    wrong = [line for line in found if not _NAMED.fullmatch(line)]
    if wrong:
        raise CannotBeDeployed(
            f"{file}: {wrong[0]!r} is an option or a path, and runs take names of packages only: an index is told by "
            "the pool's environment (UV_DEFAULT_INDEX), and a local project goes with --bundle or into the image"
        )
    return found


def _folder(target: str) -> str | None:
    """Where FILE.py is, seen from here: so it is in the repository whose top this is."""
    path = PurePosixPath(target.partition(":")[0])
    if path.is_absolute():
        raise click.UsageError(f"{target}: name the file from the top of its repository, or say --code-path")
    folder = str(path.parent)
    return None if folder == "." else folder
