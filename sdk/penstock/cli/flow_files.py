"""From `file.py[:name]` to the flows in it. Imports the user's file, and says plainly what is wrong with it."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine import file_modules
from ..errors import PenstockError
from ..flows import Flow
from .suggestions import instead


class BadFlowFile(PenstockError):
    """The file gives no flow."""

    reason = "BadFlowFile"


NO_FLOWS = "it has no flows: decorate a function with @flow"


@dataclass(frozen=True, slots=True)
class Found:
    """Flows of one file: its module name, its text, and the flows by the name they have in it."""

    module: str
    source: str
    flows: dict[str, Flow[Any, Any]]


def is_file(target: str) -> bool:
    """Whether a target names a Python file rather than something in the cluster."""
    return target.partition(":")[0].endswith(".py")


def load(target: str) -> Found:
    """The flows of `path.py`, or the one of `path.py:name`. Raises `BadFlowFile`."""
    given, _, wanted = target.partition(":")
    path = Path(given)
    if path.is_dir():
        there = (file.name for file in path.glob("*.py"))
        raise BadFlowFile(f"{path} is a folder: name a file; {instead('', sorted(there), 'it has no .py')}")
    if not path.is_file():
        there = (file.name for file in path.parent.glob("*.py"))
        raise BadFlowFile(f"{path}: there is no such file; {instead(path.name, sorted(there), 'nor any other .py')}")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFlowFile(f"{path} cannot be read as UTF-8: {error}") from error
    name = _module_name(path)
    module = _import(path.resolve(), name)
    there_is = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    if wanted:
        if wanted not in there_is:
            raise BadFlowFile(f"{path}: {_what_is(module, wanted)}; {instead(wanted, there_is, NO_FLOWS)}")
        return Found(name, source, {wanted: there_is[wanted]})
    own = {key: value for key, value in there_is.items() if value.__module__ == name}  # and not imported
    if not own:
        raise BadFlowFile(f"{path}: {NO_FLOWS}")
    first = {id(value): key for key, value in reversed(own.items())}  # one flow may have two names
    return Found(name, source, {key: value for key, value in own.items() if first[id(value)] == key})


def _module_name(path: Path) -> str:
    name = re.sub(r"\W", "_", path.stem)
    if name[0].isdigit():
        name = f"_{name}"
    if name in sys.stdlib_module_names or (name in sys.modules and name not in imported):
        raise BadFlowFile(f"{path}: rename it: Python has a module {name} already, which the file would hide")
    return name


imported: set[str] = set()  # modules that are flow files


def _what_is(module: Any, name: str) -> str:
    found = getattr(module, name, None)
    return f"{name} is not there" if found is None else f"{name} is a {type(found).__name__}, no flow"


def _import(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadFlowFile(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    imported.add(name)
    sys.path.insert(0, str(path.parent))  # as `python file.py` has it
    try:
        file_modules.add(name, str(path), path.read_bytes())  # a file my-flow.py is no module that import finds
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = Path(error.filename or path).name
        text = f": `{error.text.strip()}`" if error.text else ""
        raise BadFlowFile(f"{where}, line {error.lineno}{text}: {type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
        line = f", line {frames[-1].lineno}: `{frames[-1].line}`" if frames else ""
        raise BadFlowFile(f"{path.name} does not import{line}: {type(error).__name__}: {error}") from error
    return module
