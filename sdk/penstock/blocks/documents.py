"""Where blocks are read and written: the mount of a run's pod, or a Block object with its Secret elsewhere.

Called by `core` and the command line. In a pod nothing is asked of the API server: a run reads the blocks that its
flow declares, from the folder the operator mounted, and writes none.
"""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import resources
from ..api import labels, names
from ..errors import BlockTypeMismatch, InvalidResource, ResourceExists, ResourceNotFound, ResourceRefused

if TYPE_CHECKING:
    from ..resources import Body, Resources

MAX_NAME = 128
MAX_DATA = 65_536  # bytes of JSON without the secrets
MAX_SECRETS, MAX_SECRET_BYTES = 64, 524_288
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Document:
    """A block as it is kept. Its secrets are in no repr."""

    type: str
    data: dict[str, Any]
    secrets: dict[str, bytes] = field(repr=False)
    description: str | None = None


def checked_name(name: Any) -> str:
    """The name. Raises InvalidResource."""
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidResource(
            f"block name {name!r}: lower-case letters, digits and dashes, at most {MAX_NAME}, "
            "with a letter or a digit first and last"
        )
    return name


def read(name: str, where: Resources | None = None) -> Document:
    """The block of that name. Raises ResourceNotFound."""
    checked_name(name)
    if where is None and resources.in_pod():
        return _mounted(name)
    where = where or resources.current()
    body = where.get("blocks", name)
    if body is None:
        raise ResourceNotFound(f"block {name} is not in {where.place}: save it first")
    spec = body["spec"]
    secrets, held = {}, {}
    for path, reference in (spec.get("secrets") or {}).items():
        secret = reference["name"]
        if secret not in held:
            found = where.get("secrets", secret)
            if found is None:
                raise ResourceNotFound(f"block {name}: Secret {secret} of field {path} is not in {where.place}")
            held[secret] = found.get("data") or {}
        if reference["key"] not in held[secret]:
            raise ResourceNotFound(f"block {name}: Secret {secret} has no key {reference['key']} for field {path}")
        secrets[path] = base64.b64decode(held[secret][reference["key"]])
    return Document(spec["type"], spec.get("data") or {}, secrets, spec.get("description"))


def _mounted(name: str) -> Document:
    folder = Path(os.environ.get(labels.ENV_BLOCKS) or labels.BLOCKS_DIR) / name
    try:
        body = json.loads((folder / labels.BLOCK_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResourceNotFound(
            f"block {name} is not mounted: declare it where the flow is defined, @flow(blocks=[{name!r}]), and deploy"
        ) from error
    secrets = {}
    kept = folder / labels.BLOCK_SECRETS
    if kept.is_dir():
        secrets = {path.name: path.read_bytes() for path in kept.iterdir() if not path.name.startswith("..")}
    return Document(body["type"], body.get("data") or {}, secrets)


def write(name: str, document: Document, overwrite: bool, where: Resources | None = None) -> None:
    """Keep a block: a Block object, and a Secret for its secret fields. Raises ResourceExists."""
    checked_name(name)
    if where is None and resources.in_pod():
        raise ResourceRefused(
            f"block {name}: a run writes no blocks, for it would need the right to write Secrets; save it from outside"
        )
    where = where or resources.current()
    _check_sizes(name, document)
    secret = names.block_secret(name)
    spec: Body = {"type": document.type, "data": document.data}
    spec["secrets"] = {path: {"name": secret, "key": path} for path in document.secrets}
    if document.description:
        spec["description"] = document.description[:1024]
    try:
        block = where.create(resources.body_of("Block", name, spec))
    except ResourceExists as error:
        if not overwrite:
            raise ResourceExists(f"block {name} exists in {where.place}: give overwrite=True to change it") from error
        block = where.change("blocks", name, {f"/spec/{part}": value for part, value in spec.items()})
    _write_secret(where, secret, block, document)


def _write_secret(where: Resources, secret: str, block: Body, document: Document) -> None:
    data = {path: base64.b64encode(value).decode() for path, value in document.secrets.items()}
    there = where.get("secrets", secret)
    if there is not None and (there["metadata"].get("labels") or {}).get(labels.MANAGED_BY) != labels.MANAGED_BY_VALUE:
        raise ResourceExists(f"Secret {secret} is not Penstock's: rename it, or choose another name for the block")
    if there is not None:
        where.change("secrets", secret, {"/data": data})
    elif data:
        owner = {"apiVersion": labels.API_VERSION, "kind": "Block", "name": block["metadata"]["name"]}
        where.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {
                    "name": secret,
                    "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
                    "ownerReferences": [{**owner, "uid": block["metadata"]["uid"]}],
                },
                "data": data,
            }
        )


def remove(name: str, type_: str | None = None, where: Resources | None = None) -> bool:
    """Delete a block, of this type, and the Secret that was made for it; whether it was there."""
    checked_name(name)
    if where is None and resources.in_pod():
        raise ResourceRefused(f"block {name}: a run deletes no blocks; delete it from outside")
    where = where or resources.current()
    body = where.get("blocks", name)
    if body is None:
        return False
    if type_ is not None and body["spec"]["type"] != type_:
        raise BlockTypeMismatch(f"block {name} is of type {body['spec']['type']}, not {type_}: nothing is deleted")
    secret = names.block_secret(name)
    there = where.delete("blocks", name)
    if any(reference["name"] == secret for reference in (body["spec"].get("secrets") or {}).values()):
        where.delete("secrets", secret)
    return there


def _check_sizes(name: str, document: Document) -> None:
    size = len(json.dumps(document.data).encode())
    if size > MAX_DATA:
        raise InvalidResource(
            f"block {name}: data has {size} bytes of JSON, and may have {MAX_DATA}: keep what is large elsewhere"
        )
    size = sum(map(len, document.secrets.values()))
    if len(document.secrets) > MAX_SECRETS or size > MAX_SECRET_BYTES:
        raise InvalidResource(
            f"block {name}: {len(document.secrets)} secrets of {size} bytes together, and there may be {MAX_SECRETS} "
            f"of {MAX_SECRET_BYTES}: make it several blocks, or use a SecretDict"
        )
