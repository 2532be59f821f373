"""The blocks of a flow as one volume of its pods: what is plain from annotations, what is secret from Secrets.

A pod so holds what its attempt was launched with, and no further object has to be made, and deleted, for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock.api import labels

Body = dict[str, Any]

VOLUME = "penstock-blocks"
MOUNT = {"name": VOLUME, "mountPath": labels.BLOCKS_DIR, "readOnly": True}
MODE = 0o440  # the run's group may read


def data(blocks: Mapping[str, Body]) -> dict[str, str]:
    """The pod's annotations with type and data of each block, by its place in the order."""
    return {
        f"{labels.BLOCK_DATA}-{number}": json.dumps({"type": spec["type"], "data": spec.get("data") or {}})
        for number, spec in enumerate(blocks.values())
    }


def volume(blocks: Mapping[str, Body]) -> Body:
    """The volume: `<block>/block.json`, and `<block>/secrets/<field>` for each reference to a Secret."""
    plain: list[Body] = []
    secrets: list[Body] = []
    for number, (name, spec) in enumerate(blocks.items()):
        field = {"fieldPath": f"metadata.annotations['{labels.BLOCK_DATA}-{number}']"}
        plain.append({"path": f"{name}/{labels.BLOCK_FILE}", "fieldRef": field})
        for path, reference in sorted((spec.get("secrets") or {}).items()):
            item = {"key": reference["key"], "path": f"{name}/{labels.BLOCK_SECRETS}/{path}"}
            secrets.append({"secret": {"name": reference["name"], "items": [item]}})
    sources = [{"downwardAPI": {"items": plain}}, *secrets]
    return {"name": VOLUME, "projected": {"defaultMode": MODE, "sources": sources}}
