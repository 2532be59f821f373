"""Modules that were executed from a file: processes of the task runner and workers elsewhere import the same text."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from penstock.engine import file_modules


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test adds is gone after it."""
    monkeypatch.setattr(file_modules, "_known", {})
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_worker_imports_the_text_it_was_sent(tmp_path: Path) -> None:
    """The file need not be there; its source can be looked at all the same."""
    path = str(tmp_path / "nowhere.py")
    file_modules.provide({"sent_away": (path, b"def f():\n    return 7\n")})
    module = import_module("sent_away")
    assert (module.f(), module.__file__) == (7, path)
    assert inspect.getsource(module.f) == "def f():\n    return 7\n"


def test_another_text_of_the_same_name_takes_its_place() -> None:
    """A worker serves many flows, and many of them are called flow.py."""
    file_modules.provide({"flow_of_many": ("/a/flow.py", b"WHOSE = 'a'")})
    first = import_module("flow_of_many")
    file_modules.provide({"flow_of_many": ("/a/flow.py", b"WHOSE = 'a'")})
    assert import_module("flow_of_many") is first
    file_modules.provide({"flow_of_many": ("/b/flow.py", b"WHOSE = 'b'")})
    assert (import_module("flow_of_many").WHOSE, first.WHOSE) == ("b", "a")


def test_where_it_was_executed_it_stays_what_it_is() -> None:
    """A worker may live in the flow's own process."""
    module = sys.modules["executed_here"] = type(sys)("executed_here")
    file_modules.add("executed_here", "/flow.py", b"raise AssertionError")
    file_modules.provide(file_modules.texts())
    assert import_module("executed_here") is module


def test_a_process_on_this_machine_is_told_by_its_environment(tmp_path: Path) -> None:
    path = tmp_path / "my\tflow.py"
    path.write_text("N = 3")
    file_modules.add("my_flow", str(path), b"N = 3")
    file_modules.add("deleted_since", str(tmp_path / "deleted.py"), b"")
    environment = file_modules.told()
    file_modules._known.clear()
    file_modules.hear(environment)
    assert import_module("my_flow").N == 3
    with pytest.raises(ModuleNotFoundError, match="deleted_since"):
        import_module("deleted_since")


def test_a_process_that_is_told_nothing() -> None:
    file_modules.hear({})
    assert file_modules.texts() == {}
