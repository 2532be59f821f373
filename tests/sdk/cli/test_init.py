"""The penstock.yaml that `penstock init` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from command_line import CommandLine
from penstock import project
from penstock.cli.init import flows_below

FLOWS = """
import penstock
from penstock import flow, task

raise RuntimeError("nobody imports this")

@flow
def etl(): ...

@flow(name="other")
async def report(): ...

@penstock.flow(retries=1)
def third(): ...

@task
def no(): ...
"""
Write = Callable[[str, str], Path]


def test_it_names_every_flow_and_can_be_read(penstock: CommandLine, write: Write) -> None:
    write("shop.py", FLOWS)
    Path("sub").mkdir()
    write("sub/more.py", "from penstock import flow\n@flow\ndef etl(): ...\n")
    said = penstock.ok("init")
    assert said.startswith(
        "penstock.yaml written with 4 deployments. Look at what it does: penstock deploy --all --diff"
    )
    found = project.read(Path("penstock.yaml")).project
    assert [(each.name, each.entrypoint) for each in found.deployments] == [
        ("etl", "shop.py:etl"),
        ("report", "shop.py:report"),
        ("third", "shop.py:third"),
        ("more-etl", "sub/more.py:etl"),
    ]


def test_its_comments_are_what_the_file_may_say(penstock: CommandLine, write: Write) -> None:
    write("shop.py", "from penstock import flow\n@flow\ndef etl(): ...\n")
    penstock.ok("init")
    path = Path("penstock.yaml")
    path.write_text(path.read_text().replace("    # ", "    "))
    (etl,) = project.read(path).project.deployments
    assert etl.schedules is not None
    assert etl.schedules[0].timezone == "Europe/Oslo"


def test_it_overwrites_nothing_unasked(penstock: CommandLine, write: Write) -> None:
    write("shop.py", FLOWS)
    write("penstock.yaml", "mine")
    assert "penstock.yaml is there already: edit it, or overwrite it with --force" in penstock.fails("init")
    assert Path("penstock.yaml").read_text() == "mine"
    penstock.ok("init", "--force")


def test_a_folder_without_flows(penstock: CommandLine, write: Write) -> None:
    write("broken.py", "def (:\n")
    assert "there is no flow in this folder: decorate a function with @flow" in penstock.fails("init")


def test_what_is_installed_is_not_looked_at(tmp_path: Path) -> None:
    for name in (".venv/lib/a.py", "tests/b.py", ".hidden/c.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(FLOWS)
    assert list(flows_below(tmp_path)) == []
