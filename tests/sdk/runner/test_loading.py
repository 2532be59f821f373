"""From an entrypoint to a flow, and what a person is told where there is none."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from penstock import Flow
from penstock.api import reasons
from penstock.runner import loading
from penstock.runner.delivery import Delivered
from penstock.runner.loading import LoadError

FLOWS = """
    from penstock import flow, task

    @task
    def double(n):
        return 2 * n

    @flow
    def etl(n: int = 1):
        return double(n)

    @flow
    def another():
        ...

    class Jobs:
        @flow
        def nightly():
            return "done"

    LIMIT = 3
    NOTHING = None
"""


NO_FLOWS = {
    "a name that is not there": ("mounted:elt", "elt is not in mounted; its flows are another, etl"),
    "a task": ("mounted:double", "double is a Task, no flow; its flows are another, etl"),
    "a number": ("mounted:LIMIT", "LIMIT is a int, no flow"),
    "None": ("mounted:NOTHING", "NOTHING is not in mounted"),
    "a class": ("mounted:Jobs", "Jobs is a type, no flow"),
    "what a class has not": ("mounted:Jobs.hourly", "Jobs.hourly is not in mounted"),
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from; what is imported is forgotten again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith(("penstock", "_pytest")):
            del sys.modules[name]


def load(entrypoint: str, source: str | None) -> Flow[Any, Any]:
    return loading.load(entrypoint, Delivered(source=source))


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return str(path)


def refusal(entrypoint: str, source: str | None = None) -> LoadError:
    with pytest.raises(LoadError) as raised:
        load(entrypoint, source)
    return raised.value


class TestModules:
    """Code that is in the image."""

    def test_a_flow_of_a_module(self, modules: Path) -> None:
        write(modules, "jobs_in_image.py", FLOWS)
        found = load("jobs_in_image:etl", None)
        assert isinstance(found, Flow)
        assert (found.name, found.fn(n=4)) == ("etl", 8)

    def test_a_flow_of_a_module_in_a_package(self, modules: Path) -> None:
        write(modules, "company_flows/__init__.py", "")
        write(modules, "company_flows/orders.py", FLOWS)
        assert load("company_flows.orders:another", None).name == "another"

    def test_a_module_that_is_not_there(self, modules: Path) -> None:
        error = refusal("no_such_module:etl")
        assert error.reason == reasons.IMPORT_FAILED
        assert "module no_such_module cannot be imported: ModuleNotFoundError" in str(error)
        assert "The image has no module no_such_module: correct the entrypoint, or set an image that has it" in str(
            error
        )

    def test_a_module_of_a_package_that_is_not_there(self, modules: Path) -> None:
        assert "The image has no module no_such_package:" in str(refusal("no_such_package.orders:etl"))

    def test_a_package_that_the_code_needs_and_the_image_lacks(self, modules: Path) -> None:
        """Another thing than a wrong entrypoint, with another remedy."""
        path = write(modules, "needs_more.py", "import json\nimport frames.of.data\n")
        error = refusal("needs_more:etl")
        assert "No module named 'frames'" in str(error)
        assert f"({path}, line 2)" in str(error)
        assert str(error).endswith("Set an image that has frames installed, or name it in spec.requirements")

    def test_a_module_that_raises(self, modules: Path) -> None:
        """The line of user code is named, and the error itself is kept for the log."""
        path = write(modules, "broken.py", 'x = 1\nraise KeyError("REGION")\n')
        error = refusal("broken:etl")
        assert error.reason == reasons.IMPORT_FAILED
        assert str(error) == f"module broken cannot be imported: KeyError: 'REGION' ({path}, line 2)"
        assert isinstance(error.__cause__, KeyError)

    def test_a_module_with_a_syntax_error(self, modules: Path) -> None:
        write(modules, "unfinished.py", "def etl(:\n")
        assert "SyntaxError" in str(refusal("unfinished:etl"))
        assert "unfinished.py, line 1" in str(refusal("unfinished:etl"))


class TestSource:
    """Code that is mounted as a file, under a module name of its own."""

    def test_a_flow_of_a_file(self, modules: Path) -> None:
        found = load("mounted:etl", write(modules, "code/flow.py", FLOWS))
        assert found.fn(n=3) == 6
        assert found.entrypoint == "mounted:etl"

    def test_what_is_in_it_can_be_pickled_by_reference(self, modules: Path) -> None:
        """Task runners that use processes do."""
        load("mounted:etl", write(modules, "code/flow.py", FLOWS))
        module = sys.modules["mounted"]
        assert pickle.loads(pickle.dumps(module.Jobs)) is module.Jobs
        assert module.__file__ is not None
        assert module.__file__.endswith("code/flow.py")

    def test_a_flow_of_a_class(self, modules: Path) -> None:
        assert load("mounted:Jobs.nightly", write(modules, "code/flow.py", FLOWS)).fn() == "done"

    def test_any_encoding_that_python_reads(self, modules: Path) -> None:
        """A byte order mark and a coding line included."""
        path = modules / "marked.py"
        path.write_bytes("\ufeffNAME = 'ü'\n".encode() + dedent(FLOWS).encode())
        assert load("marked:etl", str(path)).name == "etl"
        path.write_bytes(b"# -*- coding: latin-1 -*-\nNAME = '\xfc'\n" + dedent(FLOWS).encode())
        load("latin:etl", str(path))
        assert sys.modules["latin"].NAME == "ü"

    def test_the_runners_own_future_imports_are_not_the_users(self, modules: Path) -> None:
        """Annotations stay objects unless the file says otherwise."""
        load("mounted:etl", write(modules, "code/flow.py", FLOWS + "    def f(x: int): ...\n"))
        assert sys.modules["mounted"].f.__annotations__ == {"x": int}

    def test_a_file_that_is_not_there(self, modules: Path) -> None:
        error = refusal("mounted:etl", str(modules / "nowhere.py"))
        assert error.reason == reasons.IMPORT_FAILED
        assert "the flow's file cannot be imported: FileNotFoundError" in str(error)

    def test_a_file_that_raises(self, modules: Path) -> None:
        path = write(modules, "code/flow.py", "def f():\n    return 1 / 0\n\nf()\n")
        assert str(refusal("mounted:etl", path)) == (
            f"the flow's file cannot be imported: ZeroDivisionError: division by zero ({path}, line 2)"
        )

    def test_a_file_with_a_syntax_error(self, modules: Path) -> None:
        message = str(refusal("mounted:etl", write(modules, "code/flow.py", "x = 1\nx = = 2\n")))
        assert "SyntaxError: invalid syntax" in message
        assert "line 2" in message

    def test_a_file_that_exits(self, modules: Path) -> None:
        """A script without a guard: its exit is not the run's end."""
        path = write(modules, "code/flow.py", FLOWS + "    import sys\n    sys.exit(3)\n")
        error = refusal("mounted:etl", path)
        assert error.reason == reasons.IMPORT_FAILED
        assert "SystemExit: 3" in str(error)
        assert 'put what calls it under `if __name__ == "__main__":`' in str(error)

    def test_an_interruption_is_not_the_files_fault(self, modules: Path) -> None:
        path = write(modules, "code/flow.py", "raise KeyboardInterrupt\n")
        with pytest.raises(KeyboardInterrupt):
            load("mounted:etl", path)


class TestEntrypoints:
    """A module that is fine, and an entrypoint that is not."""

    @pytest.mark.parametrize(("entrypoint", "message"), NO_FLOWS.values(), ids=NO_FLOWS)
    def test_it_is_told_what_there_is(self, modules: Path, entrypoint: str, message: str) -> None:
        error = refusal(entrypoint, write(modules, "code/flow.py", FLOWS))
        assert error.reason == reasons.ENTRYPOINT_NOT_FLOW
        assert str(error).startswith(f"entrypoint {entrypoint}: ")
        assert message in str(error)

    def test_a_function_without_the_decorator(self, modules: Path) -> None:
        path = write(modules, "code/flow.py", "def etl():\n    ...\n")
        message = str(refusal("mounted:etl", path))
        assert "etl is a function, no flow; it has no flows: decorate a function with @flow" in message


class TestPickles:
    """Code that is a pickle of the flow itself."""

    def test_what_it_needs_and_the_image_lacks_is_named(self, modules: Path) -> None:
        write(modules, "aid.py", "class Aid: ...\n")
        import aid  # type: ignore[import-not-found] # made above

        (modules / "flow.pickle").write_bytes(pickle.dumps(aid.Aid()))
        with pytest.raises(LoadError, match="the bundle holds a Aid and no flow"):
            loading.load("aid:f", Delivered(pickled=str(modules / "flow.pickle")))
        del sys.modules["aid"]
        (modules / "aid.py").unlink()
        with pytest.raises(LoadError, match=r"No module named 'aid'.* or name it in spec\.requirements") as caught:
            loading.load("aid:f", Delivered(pickled=str(modules / "flow.pickle")))
        assert caught.value.reason == reasons.IMPORT_FAILED
