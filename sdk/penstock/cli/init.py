"""`penstock init`: a penstock.yaml for the flows of a folder. Reads their files as text; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click

from ..api import names
from ..project import FILE

HEAD = """\
# What `penstock deploy --all` applies. Fields are those of FlowDeployment, WorkPool and WorkQueue:
# `kubectl explain flowdeployment.spec`. Keys that begin with x- are yours, for YAML anchors.
name: {name}
deployments:
"""
ENTRY = """\
  - entrypoint: {entrypoint}
    name: {name}
    # workPool: default
    # parameters: {{}}
    # tags: []
    # schedules:
    #   - slug: nightly
    #     cron: "0 2 * * *"
    #     timezone: Europe/Oslo
"""
SKIPPED = {".venv", "venv", "node_modules", "__pycache__", "build", "dist", "tests"}
MAX_FILES = 2000


@click.command("init")
@click.option("--force", is_flag=True, help="Overwrite penstock.yaml.")
def command(force: bool) -> None:
    """Write a penstock.yaml with the flows of this folder."""
    path = Path(FILE)
    if path.exists() and not force:
        raise click.ClickException(f"{FILE} is there already: edit it, or overwrite it with --force")
    found = list(flows_below(Path()))
    if not found:
        raise click.ClickException("there is no flow in this folder: decorate a function with @flow")
    path.write_text(project_text(Path.cwd().name, found), encoding="utf-8")
    count = "1 deployment" if len(found) == 1 else f"{len(found)} deployments"
    click.echo(f"{FILE} written with {count}. Look at what it does: penstock deploy --all --diff")


def project_text(folder: str, found: list[tuple[str, str]]) -> str:
    """The text of the file; a deployment for each (file, flow), named after the flow."""
    taken: set[str] = set()
    entries = []
    for file, flow in found:
        name = names.dns_label(flow, 63) or "flow"
        if name in taken:
            name = names.dns_label(f"{Path(file).stem}-{flow}", 63)
        taken.add(name)
        entries.append(ENTRY.format(entrypoint=f"{file}:{flow}", name=name))
    return HEAD.format(name=names.dns_label(folder, 63) or "project") + "".join(entries)


def flows_below(folder: Path) -> Iterator[tuple[str, str]]:
    """File and name of the functions that `@flow` decorates, in the order of their files."""
    files = [file for file in sorted(folder.rglob("*.py")) if not _skipped(file.relative_to(folder))]
    for file in files[:MAX_FILES]:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_is_flow, node.decorator_list)):
                yield file.relative_to(folder).as_posix(), node.name


def _skipped(path: Path) -> bool:
    return any(part in SKIPPED or part.startswith(".") for part in path.parts)


def _is_flow(decorator: ast.expr) -> bool:
    """`@flow`, `@flow(...)`, `@penstock.flow`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "flow"
