"""Which modules are a user's own, not installed ones, and which of those a piece of code needs. Called by `bundle`."""

from __future__ import annotations

import ast
import dis
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType

from ..errors import DefinitionError

_OURS = ("penstock", "penstock_operator")
_INSTALLED = tuple({str(Path(path).resolve()) for path in sysconfig.get_paths().values() if path})


def files_of(modules: Iterable[str]) -> dict[str, bytes]:
    """The text of those of the modules that are local, and of all local ones that these import, by path below sys.path.

    Raises DefinitionError for one that is compiled, and so is no text.
    """
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name in seen or not name or name == "__main__":
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            left.append(parent)
        path = _local_file(name)
        if path is None:
            continue
        text = path.read_bytes()
        package = path.name == "__init__.py"
        found[f"{name.replace('.', '/')}{'/__init__' if package else ''}.py"] = text
        left += imports(text, name if package else parent, str(path))
    return found


def imports(text: bytes, package: str, path: str) -> Iterator[str]:
    """Names of what a module imports anywhere in it; `from a import b` may mean the module a.b, so that is one too."""
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def imported_by(function: Callable[..., object]) -> Iterator[str]:
    """Names of what a function imports when it is called, nested functions included."""
    code = getattr(function, "__code__", None)
    left: list[CodeType] = [code] if isinstance(function, FunctionType) and code else []
    while left:
        code = left.pop()
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        base = ""
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                base = str(step.argval)
                yield base
            elif step.opname == "IMPORT_FROM":
                yield f"{base}.{step.argval}"


def _local_file(name: str) -> Path | None:
    """The file of a module that is nobody's installed one; None for all others, and for what is no module."""
    if name.partition(".")[0] in (*_OURS, *sys.stdlib_module_names):
        return None
    module = sys.modules.get(name)
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None)
    if module is None:
        try:
            spec = find_spec(name)
        except (ImportError, AttributeError, ValueError):
            return None
        file = spec.origin if spec else None
    if not file or file in ("built-in", "frozen", "namespace"):
        return None
    path = Path(file).resolve()
    if any(part in ("site-packages", "dist-packages") for part in path.parts) or str(path).startswith(_INSTALLED):
        return None
    if path.suffix != ".py":
        raise DefinitionError(
            f"module {name} ({path}) is compiled and cannot be sent with a flow: put it into the image of its runs"
        )
    return path
