"""From delivered code to a flow: imports the module, executes mounted source or opens a pickle, and says what is wrong
with it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..api import reasons
from ..engine import file_modules

if TYPE_CHECKING:
    from ..flows import Flow
    from .delivery import Delivered


class LoadError(Exception):
    """The code gives no flow; `reason` says which way, the error's cause is what user code raised."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def load(entrypoint: str, code: Delivered) -> Flow[Any, Any]:
    """The flow `module:function`, or the one that was pickled. Raises LoadError."""
    if code.pickled is not None:
        return _unpickle(code.pickled)
    return _flow(_module(entrypoint, code), entrypoint.partition(":")[2], entrypoint)


def load_module(entrypoint: str, code: Delivered) -> None:
    """Make the module of `module:function` importable, unless the code is a pickle: that brings its own.

    Raises LoadError.
    """
    if code.pickled is None:
        _module(entrypoint, code)


def _module(entrypoint: str, code: Delivered) -> ModuleType:
    name = entrypoint.partition(":")[0]
    return _execute(name, code.source) if code.source else _import(name)


def _unpickle(path: str) -> Flow[Any, Any]:
    import pickle

    from ..flows import Flow

    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
            found = pickle.load(file)  # noqa: S301 - it is code that is asked to run
    except (Exception, SystemExit) as error:
        message = f"the bundle cannot be opened: {_tail(error)}{_remedy(error, '')}"
        raise LoadError(reasons.IMPORT_FAILED, message) from error
    if not isinstance(found, Flow):
        raise LoadError(reasons.ENTRYPOINT_NOT_FLOW, f"the bundle holds a {type(found).__name__} and no flow")
    return found


def _import(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        message = f"module {name} cannot be imported: {_tail(error)}{_remedy(error, name)}"
        raise LoadError(reasons.IMPORT_FAILED, message) from error


def _execute(name: str, path: str) -> ModuleType:
    """Run the file as module `name`, which is then importable, so that tasks can be pickled by reference."""
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
            text = file.read()
        file_modules.add(name, path, text)
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this is for
    except (Exception, SystemExit) as error:
        message = f"the flow's file cannot be imported: {_tail(error)}{_remedy(error, name)}"
        raise LoadError(reasons.IMPORT_FAILED, message) from error
    return module


def _flow(module: ModuleType, function: str, entrypoint: str) -> Flow[Any, Any]:
    from ..flows import Flow

    found: Any = module
    for part in function.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Flow):
        return found
    flows = sorted(name for name, value in vars(module).items() if isinstance(value, Flow))
    there = f"its flows are {', '.join(flows)}" if flows else "it has no flows: decorate a function with @flow"
    what = (
        f"{function} is not in {module.__name__}"
        if found is None
        else f"{function} is a {type(found).__name__}, no flow"
    )
    raise LoadError(reasons.ENTRYPOINT_NOT_FLOW, f"entrypoint {entrypoint}: {what}; {there}")


def _tail(error: BaseException) -> str:
    """The error, and the last line of user code that led to it."""
    from traceback import extract_tb

    frames = [f for f in extract_tb(error.__traceback__) if "importlib" not in f.filename and f.filename != __file__]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _remedy(error: BaseException, module: str) -> str:
    """What to do about it, where the error itself does not say."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        if module == error.name or module.startswith(f"{error.name}."):
            return f". The image has no module {error.name}: correct the entrypoint, or set an image that has it"
        return f". Set an image that has {error.name.partition('.')[0]} installed, or name it in spec.requirements"
    if isinstance(error, SystemExit):
        return '. The module exits when it is imported: put what calls it under `if __name__ == "__main__":`'
    return ""
