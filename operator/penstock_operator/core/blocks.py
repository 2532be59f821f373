"""What is wrong with a block, as far as the cluster can tell. Pure; called by the reconciler of blocks.

The types of users are classes in their code, which checks them where a block is loaded; the cluster knows its own.
Whether a Secret that is named is there is not looked at: nobody here may read Secrets, and Kubernetes has no right to
their names alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .resolve import MAX_BLOCKS

Body = dict[str, Any]

SECRET = "secret"  # noqa: S105 - the type of `penstock.blocks.Secret`
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,126}[a-z0-9])?")


def problems(block: Body) -> list[str]:
    """Each says the field and the remedy; no value of the block is repeated."""
    name, spec = block["metadata"]["name"], block["spec"]
    data: dict[str, Any] = spec.get("data") or {}
    paths = sorted(spec.get("secrets") or {})
    found = []
    if not _NAME.fullmatch(name):
        found.append(
            "metadata.name: flows load blocks by lower-case letters, digits and dashes, at most 128: make it anew"
        )
    size = len(json.dumps(data).encode())
    if size > MAX_BLOCKS:
        found.append(
            f"spec.data: {size} bytes of JSON, and all blocks of a flow may have {MAX_BLOCKS}: make it smaller"
        )
    found += [problem for path in paths if (problem := _misplaced(path, data))]
    found += [
        f"spec.secrets: {inner} lies inside of {outer}, which is secret as a whole: keep one of them"
        for outer in paths
        for inner in paths
        if inner.startswith(f"{outer}.")
    ]
    if spec["type"] == SECRET:
        found += _of_secret(data, paths)
    return found


def _misplaced(path: str, data: Any) -> str | None:
    """What keeps the secret of this path from its place in the block's data."""
    *parents, last = path.split(".")
    for number, part in enumerate(parents, 1):
        if part not in data:
            return None
        data = data[part]
        if not isinstance(data, dict):
            return f"spec.secrets: {path} needs an object at spec.data.{'.'.join(parents[:number])}"
    return f"spec.data.{path}: it stands in spec.secrets as well: take it out of the data" if last in data else None


def _of_secret(data: dict[str, Any], paths: list[str]) -> list[str]:
    """The fields of the type that holds one secret value."""
    found = []
    if "value" in data:
        found.append("spec.data.value: a block of type secret has its value in a Secret: name it in spec.secrets.value")
    elif "value" not in paths:
        found.append("spec.secrets.value: a block of type secret needs it, as a key of a Secret")
    if data.get("encoding", "text") not in ("text", "json"):
        found.append("spec.data.encoding: must be text or json")
    return found
