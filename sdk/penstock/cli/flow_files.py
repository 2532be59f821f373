"""From `file.py[:function]` to the flows in it. Imports the user's file, and says plainly what is wrong with it."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..exceptions import PenstockError
from ..flows import Flow


class BadFlowFile(PenstockError):
    """The file gives no flow."""

    reason = "BadFlowFile"


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
    """The flows of `path.py`, or the one of `path.py:function`. Raises `BadFlowFile`."""
    name, _, function = target.partition(":")
    path = Path(name)
    if not path.is_file():
        raise BadFlowFile(f"{path}: there is no such file")
    module_name = re.sub(r"\W", "_", path.stem)
    if module_name[0].isdigit():
        module_name = f"_{module_name}"
    module = _import(path.resolve(), module_name)
    there = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    flows = {key: value for key, value in there.items() if value.__module__ == module_name}
    if function:
        found = getattr(module, function, None)
        if not isinstance(found, Flow):
            what = "is not there" if found is None else f"is a {type(found).__name__}, no flow"
            known = f"its flows are {', '.join(there)}" if there else "it has no flows: decorate a function with @flow"
            raise BadFlowFile(f"{path}: {function} {what}; {known}")
        flows = {function: found}
    if not flows:
        raise BadFlowFile(f"{path}: it has no flows; decorate a function with @flow")
    return Found(module_name, path.read_text(encoding="utf-8"), flows)


def _import(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadFlowFile(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # as `python file.py` has it
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise BadFlowFile(f"{path.name}, line {error.lineno}: {error.msg}") from error
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
        line = f", line {frames[-1].lineno}: `{frames[-1].line}`" if frames else ""
        raise BadFlowFile(f"{path.name} does not import{line}: {type(error).__name__}: {error}") from error
    return module
