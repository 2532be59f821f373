"""What `@flow` and `@task` share: a frozen record of a function, found again by name, pickled by reference."""

from __future__ import annotations

import functools
import pickle
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import cloudpickle
import pytest

from penstock import flow, task
from penstock.definitions import Definition, call_options, find_definition, imported_definition
from penstock.errors import DefinitionError

CODE = """
from penstock import flow, task

@task(retries=2)
def load(x):
    return x

class Steps:
    @task
    def own(self, x):
        return x

    @staticmethod
    @task
    def static(x):
        return x

    @task
    @classmethod
    def of_class(cls, x):
        return x

@flow
def etl():
    return load(1)

again = load.with_options(name="again")
plain = load.fn
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that can be imported, with definitions of every kind."""
    module = ModuleType("of_definitions")
    monkeypatch.setitem(sys.modules, "of_definitions", module)
    exec(CODE, module.__dict__)
    return module


DECORATORS: dict[str, Callable[..., Any]] = {"flow": flow, "task": task}


@pytest.mark.parametrize("kind", DECORATORS)
class TestDeclared:
    """A decorator records; what cannot work is refused where it is written."""

    def test_an_option_that_does_not_exist(self, kind: str) -> None:
        """With and without the function: at the decorator's own line."""
        with pytest.raises(DefinitionError, match=rf"^@{kind} has no option log_print, retry; it has name, "):
            DECORATORS[kind](retry=3, log_print=True)
        with pytest.raises(DefinitionError, match=rf"^@{kind} has no option retry; "):
            DECORATORS[kind](lambda: None, retry=3)

    def test_what_is_no_function(self, kind: str) -> None:
        with pytest.raises(DefinitionError, match=rf"^@{kind} wants a function, not 3$"):
            DECORATORS[kind](3)

    def test_a_function_without_a_name_needs_one(self, kind: str) -> None:
        partial = functools.partial(pow, 2)
        with pytest.raises(DefinitionError, match=r"has no __name__; give the decorator name=\.\.\.$"):
            DECORATORS[kind](partial)
        assert DECORATORS[kind](name="power")(partial).name == "power"

    def test_a_function_that_does_not_say_how_it_is_called(self, kind: str) -> None:
        with pytest.raises(DefinitionError, match=r"max.*; wrap it in a function of your own"):
            DECORATORS[kind](max)

    def test_an_object_that_can_be_called(self, kind: str) -> None:
        class Adder:
            async def __call__(self, x: int) -> int:
                return x + 1

        declared = DECORATORS[kind](name="adder")(Adder())
        assert declared.isasync
        assert not declared.isgenerator

    def test_it_cannot_be_changed(self, kind: str) -> None:
        declared = DECORATORS[kind](lambda: None)
        with pytest.raises(AttributeError, match=r"cannot be changed; retries is an option of with_options\(\.\.\.\)$"):
            declared.retries = 3
        assert declared.retries == 0

    def test_it_shows_its_kind_and_name(self, kind: str) -> None:
        assert repr(DECORATORS[kind](name="load")(lambda: None)) == f"<{kind.capitalize()} 'load'>"

    def test_it_looks_like_its_function(self, kind: str) -> None:
        def load(x: int) -> int:
            """Load it."""
            return x

        declared = DECORATORS[kind](load)
        assert (declared.__name__, declared.__doc__, declared.__module__) == ("load", "Load it.", __name__)
        assert declared.__wrapped__ is declared.fn is load
        assert declared.qualname.endswith("<locals>.load")
        assert declared.description == "Load it."
        assert DECORATORS[kind](description="Mine.")(load).description == "Mine."

    @pytest.mark.parametrize("hook", ["on_running", "on_completion", "on_failure"])
    def test_hooks_are_options_or_decorators(self, kind: str, hook: str) -> None:
        def first(*_: Any) -> None: ...

        def second(*_: Any) -> None: ...

        declared = DECORATORS[kind](**{hook: [first]})(lambda: None)
        assert getattr(declared, hook)(second) is second
        assert getattr(declared, f"{hook}_hooks") == [first, second]


class TestWithOptions:
    """The same function with other options."""

    def test_what_is_not_named_stays(self) -> None:
        def hook(*_: Any) -> None: ...

        first = task(lambda x: x, name="load", retries=2, timeout_seconds=5, on_failure=[hook])
        other = first.with_options(retries=3)
        assert (other.fn, other.name, other.retries, other.timeout_seconds) == (first.fn, "load", 3, 5)
        assert other.on_failure_hooks == [hook]
        assert first.retries == 2

    def test_a_hook_that_is_added_later_is_its_own(self) -> None:
        """A copy shares nothing that can be changed."""
        first = task(lambda: None)
        other = first.with_options(name="other")
        other.on_failure(lambda *_: None)
        assert first.on_failure_hooks == []

    def test_options_that_do_not_exist_are_refused(self) -> None:
        with pytest.raises(DefinitionError, match="@task has no option retry"):
            task(lambda: None).with_options(retry=3)

    def test_of_a_method_it_is_one_too(self, module: ModuleType) -> None:
        steps = module.Steps()
        assert steps.own.with_options(name="other")(2) == 2
        assert module.Steps.of_class.with_options(name="other")(2) == 2


class TestFound:
    """A function's definition is what its module holds under its name; that is how it is found in another process."""

    @pytest.mark.parametrize("name", ["load", "etl", "Steps.own", "Steps.static", "Steps.of_class"])
    def test_by_the_function(self, name: str, module: ModuleType) -> None:
        holder, _, last = name.rpartition(".")
        held = vars(module.Steps if holder else module)[last]
        declared = held.__func__ if isinstance(held, staticmethod) else held
        assert isinstance(declared, Definition)
        assert find_definition(declared.fn) is declared
        assert imported_definition("of_definitions", name) is declared

    def test_not_where_the_name_holds_something_else(self, module: ModuleType) -> None:
        assert find_definition(module.load.fn) is module.load
        module.load = module.plain
        assert find_definition(module.plain) is None

    def test_not_a_definition_that_is_not_the_functions(self, module: ModuleType) -> None:
        module.load = module.etl
        assert find_definition(module.plain) is None

    def test_not_of_a_module_that_is_gone(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "of_definitions")
        assert find_definition(module.load.fn) is None

    def test_not_of_a_closure(self) -> None:
        @task
        def inner() -> None: ...

        assert find_definition(inner.fn) is None

    @pytest.mark.parametrize("fn", [functools.partial(pow, 2), len, type("Adder", (), {"__call__": len})()], ids=type)
    def test_not_of_what_no_def_made(self, fn: Any) -> None:
        assert find_definition(fn) is None


class TestPickled:
    """By reference where it can be imported, else whole."""

    @pytest.mark.parametrize("name", ["load", "etl"])
    def test_an_importable_one_is_its_name(self, name: str, module: ModuleType) -> None:
        data = pickle.dumps(getattr(module, name))
        assert len(data) < 150
        assert pickle.loads(data) is getattr(module, name)

    def test_a_changed_one_is_its_options_and_the_name_of_its_origin(self, module: ModuleType) -> None:
        """Whole, it would take along what its module holds, which no pickle may be able to take."""
        vars(module)["lock"] = threading.Lock()
        other = pickle.loads(pickle.dumps(module.again))
        assert (other.name, other.retries) == ("again", 2)
        assert other.fn is module.load.fn
        assert other is not module.again

    def test_a_closure_comes_whole(self) -> None:
        @task(retries=1)
        def twice(x: int) -> int:
            return 2 * x

        copied = cloudpickle.loads(cloudpickle.dumps(twice))
        assert (copied.name, copied.retries, copied.fn(2)) == ("twice", 1, 4)

    def test_a_partial_comes_whole(self) -> None:
        declared = task(functools.partial(pow, 2), name="power")
        assert cloudpickle.loads(cloudpickle.dumps(declared)).fn(3) == 8


def test_what_calls_keep_for_themselves_is_taken_out() -> None:
    load = task(lambda: None, name="load")
    given = {"x": 1, "return_state": True, "wait_for": [2]}
    assert call_options(load, given) == (True, [2])
    assert given == {"x": 1}
    assert call_options(load, given) == (False, None)
