"""What a pod mounts for its code, and how the runner is told of it."""

from __future__ import annotations

from typing import Any

from builders import resolved
from penstock.api import labels
from penstock_operator.launch import code


def mounts(**given: Any) -> dict[str, tuple[Any, str]]:
    found = {}
    for volume, mount in code.mounts(resolved(**given)):
        assert volume["name"] == mount["name"]
        assert mount["readOnly"]
        found[volume["name"]] = (volume.get("configMap") or volume["secret"], mount["mountPath"])
    return found


def test_code_and_requirements_are_files_of_config_maps() -> None:
    given = {"code": {"kind": "bundle", "configMap": "b"}, "requirements": {"configMap": "r", "digest": "d"}}
    assert mounts(**given) == {
        "penstock-code": ({"name": "b"}, "/var/run/penstock/code"),
        "penstock-requirements": ({"name": "r"}, "/var/run/penstock/requirements"),
    }
    assert code.environment(resolved(**given)) == {
        "PENSTOCK_CODE": "/var/run/penstock/code/flow.bundle",
        "PENSTOCK_REQUIREMENTS": "/var/run/penstock/requirements/requirements.txt",
    }


def test_credentials_are_mounted_by_reference() -> None:
    given = {"kind": "git", "url": "https://git.example/x", "secretRef": {"name": "token"}}
    assert mounts(code=given) == {
        "penstock-code-secret": ({"secretName": "token", "defaultMode": 0o440}, labels.CODE_SECRET_DIR)
    }
    assert code.environment(resolved(code=given)) == {"PENSTOCK_CODE_SECRET": "/var/run/penstock/code-secret"}


def test_code_of_an_image_needs_nothing() -> None:
    assert mounts(code={"kind": "image"}) == {}
    assert code.environment(resolved(code={"kind": "image"})) == {}
