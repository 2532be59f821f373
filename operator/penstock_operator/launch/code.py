"""How an attempt's pod is given its code: files from ConfigMaps, credentials from a Secret. Pure; called by `pods`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.api import labels
from penstock.api.delivery import given_files

Body = dict[str, Any]

PLACES = {
    labels.ENV_CODE: ("penstock-code", labels.CODE_DIR),
    labels.ENV_REQUIREMENTS: ("penstock-requirements", labels.REQUIREMENTS_DIR),
}
SECRET = "penstock-code-secret"  # noqa: S105 - the name of a volume
MODE = 0o440  # the run's group may read


def mounts(resolved: Body) -> Iterator[tuple[Body, Body]]:
    """Volumes of the pod, each with the mount of the run's container."""
    for file in given_files(resolved):
        name, folder = PLACES[file.variable]
        yield {"name": name, "configMap": {"name": file.config_map}}, _mount(name, folder)
    secret = resolved["code"].get("secretRef")
    if secret:
        volume = {"name": SECRET, "secret": {"secretName": secret["name"], "defaultMode": MODE}}
        yield volume, _mount(SECRET, labels.CODE_SECRET_DIR)


def environment(resolved: Body) -> dict[str, str]:
    """What tells the runner where they are."""
    values = {file.variable: f"{PLACES[file.variable][1]}/{file.key}" for file in given_files(resolved)}
    if resolved["code"].get("secretRef"):
        values[labels.ENV_CODE_SECRET] = labels.CODE_SECRET_DIR
    return values


def _mount(name: str, folder: str) -> Body:
    return {"name": name, "mountPath": folder, "readOnly": True}
