"""Whether a pod template can be merged, told by the path of what is wrong. Pure; called before it is laid upon ours.

Only what merging by key rests on is looked at: what else is wrong with a pod, the API server says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from .merging import KEYS, PATCH, RETAIN

CONTAINERS = ("initContainers", "containers")
OF_CONTAINERS = ("env", "volumeMounts", "volumeDevices", "ports")
SHOWN = 80  # characters of a value


def problem(template: Any, path: str = "spec.template") -> str | None:
    """What is wrong, with its path and what should stand there; None for a template that can be merged."""
    return next(_problems(template, path), None)


def _problems(template: Any, path: str) -> Iterator[str]:
    if not isinstance(template, dict):
        yield _not(path, "an object with metadata and spec", template)
        return
    yield from _directives(template, path)
    for name in ("metadata", "spec"):
        if not isinstance(template.get(name) or {}, dict):
            yield _not(f"{path}.{name}", "an object", template[name])
            return
    for name in ("labels", "annotations"):
        pairs = (template.get("metadata") or {}).get(name) or {}
        if not isinstance(pairs, dict):
            yield _not(f"{path}.metadata.{name}", "an object", pairs)
    spec = template.get("spec") or {}
    for name, key in KEYS.items():
        if name not in OF_CONTAINERS:
            yield from _list(spec.get(name), f"{path}.spec.{name}", key)
    for where in CONTAINERS:
        items = spec.get(where)
        for number, container in enumerate(items if isinstance(items, list) else ()):
            for name in OF_CONTAINERS if isinstance(container, dict) else ():
                yield from _list(container.get(name), f"{path}.spec.{where}[{number}].{name}", KEYS[name])


def _list(items: Any, path: str, key: str) -> Iterator[str]:
    if items is None:
        return
    if not isinstance(items, list):
        yield _not(path, f"a list of objects, each with its {key}", items)
        return
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            yield _not(f"{path}[{number}]", f"an object with its {key}", item)
        elif not isinstance(item.get(key), str | int) and item.get(PATCH) != "replace":
            yield f"{path}[{number}].{key} must be set: items are merged by it"


def _directives(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).startswith("$") and key not in (PATCH, RETAIN):
                yield f"{path}: {key} is not understood, only {PATCH} and {RETAIN} are: give the list itself instead"
            yield from _directives(inner, f"{path}.{key}")
    elif isinstance(value, list):
        yield from chain.from_iterable(_directives(item, f"{path}[{number}]") for number, item in enumerate(value))


def _not(path: str, wanted: str, value: Any) -> str:
    shown = repr(value)
    return f"{path} must be {wanted}, and is {shown if len(shown) <= SHOWN else shown[:SHOWN] + '…'}"
