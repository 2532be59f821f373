"""Merging of pod templates as the API server's strategic merge patch does it, so that nobody has to learn another.

Maps are merged by key, lists of objects by Kubernetes' merge key (`KEYS`), all others replaced; `null` takes a field
away; `$patch: delete | replace` and `$retainKeys` mean what they mean to `kubectl patch`. Two things are different: an
item that has one source of several (`ONE_OF`) loses that of another kind, as with `kubectl apply`, for both are no
valid pod; and what is there keeps its place in a list, so that the container of the flow is the first.
"""

from __future__ import annotations

from typing import Any

# Lists whose items are merged by this key, as the API of pods says; all other lists are replaced whole.
KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}
# Items of these have one source of several, besides these keys.
ONE_OF = {"env": frozenset({"name"}), "volumes": frozenset({"name"}), "valueFrom": frozenset[str]()}
PATCH, RETAIN = "$patch", "$retainKeys"
_UNSET: Any = object()


def merged(base: Any, over: Any, name: str = "") -> Any:
    """`base` with `over` upon it, neither of them changed; `name` is that of the field they stand in.

    Raises TypeError where a list that is merged by key is something else, or a directive is none that there is.
    """
    if name in KEYS and over is not None and (isinstance(over, list) or isinstance(base, list)):
        return _list([] if base is _UNSET or base is None else base, over, name)
    if isinstance(over, dict):
        return _map(base if isinstance(base, dict) else {}, over, name)
    return over


def _map(base: dict[str, Any], over: dict[str, Any], name: str) -> dict[str, Any]:
    directive = over.get(PATCH)
    given = {key: value for key, value in over.items() if key not in (PATCH, RETAIN)}
    if directive == "delete":
        return {}
    if directive not in (None, "replace", "merge"):
        raise TypeError(f"{PATCH}: {directive!r} is none: replace, merge or delete")
    kept = {} if directive == "replace" else _retained(base, over, given, name)
    for key, value in given.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key, _UNSET), value, key)
    return kept


def _retained(base: dict[str, Any], over: dict[str, Any], given: dict[str, Any], name: str) -> dict[str, Any]:
    """What of `base` may stay beside what is given."""
    if RETAIN in over:
        return {key: value for key, value in base.items() if key in over[RETAIN]}
    beside = ONE_OF.get(name)
    if beside is None or not {key for key, value in given.items() if value is not None} - beside:
        return dict(base)
    return {key: value for key, value in base.items() if key in beside or key in given}


def _list(base: Any, over: Any, name: str) -> list[Any]:
    for value in (base, over):
        if not isinstance(value, list):
            raise TypeError(f"{name} is no list: {value!r}")
    key = KEYS[name]
    directives = {_identity(item, key): item[PATCH] for item in over if PATCH in item}
    given = [item for item in over if PATCH not in item]
    if "replace" in directives.values():
        return [_map({}, item, name) for item in given]
    if unknown := set(directives.values()) - {"delete"}:
        raise TypeError(f"{name}: {PATCH}: {unknown.pop()!r} is none for an item of a list: replace or delete")
    there = [item for item in base if _identity(item, key) not in directives]
    known = {_identity(item, key): item for item in there}
    changed: dict[Any, Any] = {}
    for item in given:
        mine = _identity(item, key)
        changed[mine] = _map(changed.get(mine, known.get(mine, {})), item, name)
    kept = [changed.pop(_identity(item, key), item) for item in there]
    return kept + list(changed.values())


def _identity(item: Any, key: str) -> Any:
    return item.get(key)
