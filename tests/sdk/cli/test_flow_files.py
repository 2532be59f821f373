"""From a file to its flows: which are its own, and what is said of files that give none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.cli.flow_files import BadFlowFile, is_file, load

Write = Callable[[str, str], Path]

FLOWS = """
from penstock import flow

@flow
def first(n: int = 1):
    return n

@flow
def second():
    return 2

again = first
fast = first.with_options(name="fast", retries=3)
number = 3
"""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("flow.py", True),
        ("folder/flow.py:main", True),
        ("flow.py:", True),
        ("etl", False),
        ("flow/etl", False),
        ("flowpy", False),
        ("etl:main", False),
    ],
)
def test_a_target_that_ends_in_py_is_a_file(target: str, expected: bool) -> None:
    assert is_file(target) is expected


def test_all_flows_of_a_file_by_their_names_in_it(write: Write) -> None:
    """A flow with two names is one flow, by its first; one made by `with_options` is another."""
    write("etl.py", FLOWS)
    found = load("etl.py")
    assert found.module == "etl"
    assert found.source == FLOWS
    assert list(found.flows) == ["first", "second", "fast"]
    assert found.flows["fast"].retries == 3


@pytest.mark.parametrize("name", ["first", "second", "again", "fast"])
def test_one_flow_by_its_name(name: str, write: Write) -> None:
    write("etl.py", FLOWS)
    assert list(load(f"etl.py:{name}").flows) == [name]


def test_flows_that_a_file_imports_are_not_its_own(write: Write) -> None:
    """But they can be named, for the file may be all that is deployed of them."""
    write("base.py", FLOWS)
    write("etl.py", "from base import first\nfrom penstock import flow\n\n@flow\ndef mine():\n    return first()\n")
    assert list(load("etl.py").flows) == ["mine"]
    assert list(load("etl.py:first").flows) == ["first"]


def test_a_file_imports_its_neighbours(write: Write) -> None:
    """As it does with `python folder/etl.py`, wherever the command is run."""
    Path("folder").mkdir()
    write("folder/near_by.py", "NAME = 'near'\n")
    write("folder/etl.py", "from near_by import NAME\nfrom penstock import flow\n\n@flow(name=NAME)\ndef f(): ...\n")
    assert load("folder/etl.py").flows["f"].name == "near"


@pytest.mark.parametrize(
    ("file", "module"), [("my-etl.py", "my_etl"), ("2026 report.py", "_2026_report"), ("a.b.py", "a_b")]
)
def test_any_file_name_makes_a_module_name(file: str, module: str, write: Write) -> None:
    write(file, FLOWS)
    found = load(file)
    assert found.module == module
    assert found.flows["first"].__module__ == module


def test_main_guards_do_not_run(write: Write) -> None:
    write("etl.py", FLOWS + "\nif __name__ == '__main__':\n    raise SystemExit('ran')\n")
    assert list(load("etl.py").flows)


# A file's name, its text, the target, and what is said.
BAD: dict[str, tuple[str, str, str, str]] = {
    "no such file": ("etl.py", FLOWS, "elt.py", r"^elt\.py: there is no such file; did you mean etl\.py\?$"),
    "no file at all": ("notes.txt", "", "etl.py", r"^etl\.py: there is no such file; nor any other \.py$"),
    "no flow": ("etl.py", "x = 1\n", "etl.py", r"^etl\.py: it has no flows: decorate a function with @flow$"),
    "only a task": ("etl.py", "from penstock import task\n\n@task\ndef f(): ...\n", "etl.py", "it has no flows"),
    "an empty file": ("etl.py", "", "etl.py", "it has no flows"),
    "an unknown name": ("etl.py", FLOWS, "etl.py:scond", r"^etl\.py: scond is not there; did you mean second\?$"),
    "a name that is no flow": (
        "etl.py",
        FLOWS,
        "etl.py:number",
        r"^etl\.py: number is a int, no flow; there are first, second, again, fast$",
    ),
    "a name where there is none": ("etl.py", "x = 1\n", "etl.py:main", "main is not there; it has no flows: decorate"),
    "a syntax error": (
        "etl.py",
        "x = 1\ndef f(:\n",
        "etl.py",
        r"^etl\.py, line 2: `def f\(:`: SyntaxError: invalid syntax$",
    ),
    "bad indentation": (
        "etl.py",
        "def f():\nreturn 1\n",
        "etl.py",
        r"^etl\.py, line 2: `return 1`: IndentationError: expected an indented block",
    ),
    "an import that fails": (
        "etl.py",
        "import os\n\nimport no_such_module\n",
        "etl.py",
        r"^etl\.py does not import, line 3: `import no_such_module`: "
        "ModuleNotFoundError: No module named 'no_such_module'$",
    ),
    "code that raises": (
        "etl.py",
        "def f():\n    return 1 / 0\n\nx = f()\n",
        "etl.py",
        r"^etl\.py does not import, line 2: `return 1 / 0`: ZeroDivisionError: division by zero$",
    ),
    "code that leaves": ("etl.py", "raise SystemExit(3)\n", "etl.py", "line 1: `raise SystemExit.3.`: SystemExit: 3$"),
    "a flow that cannot be": (
        "etl.py",
        "from penstock import flow\n\n@flow(retrys=3)\ndef f(): ...\n",
        "etl.py",
        "line 3: `@flow.retrys=3.`: DefinitionError: @flow has no option retrys; it has name,",
    ),
    "a name of the standard library": (
        "calendar.py",
        FLOWS,
        "calendar.py",
        r"^calendar\.py: rename it: Python has a module calendar already, which the file would hide$",
    ),
    "a name of ours": ("penstock.py", FLOWS, "penstock.py", "rename it: Python has a module penstock already"),
}


@pytest.mark.parametrize(("name", "text", "target", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_a_file_is_said(name: str, text: str, target: str, message: str, write: Write) -> None:
    write(name, text)
    with pytest.raises(BadFlowFile, match=message):
        load(target)


def test_a_syntax_error_is_told_of_the_file_it_is_in(write: Write) -> None:
    write("near_by.py", "x = (\n")
    write("etl.py", "import near_by\n")
    with pytest.raises(BadFlowFile, match=r"^near_by\.py, line 1: `x = \(`: SyntaxError: '\(' was never closed$"):
        load("etl.py")


def test_an_error_elsewhere_is_told_by_the_line_that_led_to_it(write: Write) -> None:
    """People know their own file, not the library that raises."""
    write("near_by.py", "raise ValueError('no licence')\n")
    write("etl.py", "x = 1\nimport near_by\n")
    with pytest.raises(
        BadFlowFile, match=r"^etl\.py does not import, line 2: `import near_by`: ValueError: no licence"
    ):
        load("etl.py")


def test_a_file_that_is_no_utf8_is_refused(write: Write) -> None:
    """It could not stand in a manifest."""
    write("etl.py", "")
    Path("etl.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(BadFlowFile, match=r"^etl\.py cannot be read as UTF-8: .*position 5"):
        load("etl.py")


def test_a_folder_is_no_file(write: Write) -> None:
    Path("etl.py").mkdir()
    with pytest.raises(BadFlowFile, match=r"^etl\.py is a folder: name a file; it has no \.py$"):
        load("etl.py")
    write("shops.py", FLOWS)
    with pytest.raises(BadFlowFile, match=r"^\. is a folder: name a file; there are .*shops\.py$"):
        load(".")


def test_an_interrupt_is_not_the_files_fault(write: Write) -> None:
    write("etl.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("etl.py")


def test_the_module_can_be_imported_by_its_name(write: Write) -> None:
    """So that its tasks can be pickled by reference."""
    write("etl.py", FLOWS)
    flows = load("etl.py").flows
    assert vars(sys.modules["etl"])["first"] is flows["first"]
