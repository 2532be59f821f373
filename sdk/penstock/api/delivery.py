"""Which files a run is given before its process starts: its code and its requirements, from ConfigMaps. Pure.

Read by whoever makes the process (the launcher of pods, the agent of a worker), which puts each file somewhere and
tells the runner where by the file's variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import labels

REQUIREMENT = r"^[A-Za-z0-9]([^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\\])?$"
"""A line of requirements: PEP 508, no option of pip, and one line only, which the next does not go on."""
KEYS = {"source": labels.CODE_FILE, "bundle": labels.BUNDLE_FILE}


class GivenFile(NamedTuple):
    """A file of an attempt."""

    config_map: str
    key: str
    """Which of the ConfigMap's it is; a bundle stands in its `binaryData`."""
    variable: str
    """Environment variable that holds its path."""


def given_files(resolved: Mapping[str, Any]) -> Iterator[GivenFile]:
    """The files that `status.resolved` of a run names."""
    code, requirements = resolved["code"], resolved.get("requirements")
    if code.get("configMap"):
        yield GivenFile(code["configMap"], KEYS[code["kind"]], labels.ENV_CODE)
    if requirements:
        yield GivenFile(requirements["configMap"], labels.REQUIREMENTS_FILE, labels.ENV_REQUIREMENTS)


def pinned(resolved: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was resolved, with the very commit or digest that the run found: for whoever is to run the same code."""
    code = dict(resolved["code"])
    if found and found.get("commit"):
        code["ref"] = found["commit"]
    if found and found.get("digest"):
        code["digest"] = found["digest"]
    return {**resolved, "code": code}
