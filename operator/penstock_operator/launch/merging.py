"""Merging of pod templates as Kubernetes' strategic merge does it, for the lists a pool's template may extend."""

from __future__ import annotations

from typing import Any

# Lists whose items are merged by this key; all other lists are replaced whole.
KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
# Items of these have one source of several: that of another kind would stand beside it, and the pod be invalid.
REPLACED = frozenset({"env", "volumes", "volumeMounts"})


def merged(base: Any, over: Any, name: str = "") -> Any:
    """`base` with `over` upon it: maps by key, keyed lists by their key, anything else replaced; neither is changed.

    Variables, volumes and their mounts are replaced one by one. Raises TypeError where such a list is something else.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        result = dict(base)
        for key, value in over.items():
            result[key] = merged(base[key], value, key) if key in base else value
        return result
    key = KEYS.get(name)
    if key and base is not None and over is not None:
        for value in (base, over):
            if not isinstance(value, list):
                raise TypeError(f"{name} is no list: {value!r}")
        items = {item.get(key): item for item in base}
        for item in over:
            known = items.get(item.get(key))
            items[item.get(key)] = merged(known, item) if known is not None and name not in REPLACED else item
        return list(items.values())
    return over
