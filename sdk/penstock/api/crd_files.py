"""Writes the generated files: `python -m penstock.api.crd_files` (which `make crds` calls) from the repository's root.

A development tool: nothing imports it but its tests, and it alone of this package knows YAML and files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from . import kinds, reference
from .crd import crd

MANIFESTS = ("crds", "charts/penstock/crds")  # Helm wants its own copy
PAGES = "docs/reference/kinds"
STATES = "docs/reference/states.md"
HEADER = "# Generated from sdk/penstock/api by `make crds`. Do not edit.\n"
_YAML_1_1_BOOLEANS = frozenset({"y", "Y", "n", "N"})  # PyYAML leaves them bare, kubectl reads them as true and false


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- no anchors, whatever is repeated
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if data in _YAML_1_1_BOOLEANS else None)


_Dumper.add_representer(str, _Dumper.text)


def to_yaml(body: dict[str, Any]) -> str:
    """`body` as a YAML document, keys in their own order."""
    return HEADER + yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def generated() -> dict[str, str]:
    """Every generated file, path to content; paths are relative to the repository's root."""
    crds = [crd(kind) for kind in kinds.ALL]
    files = {f"{PAGES}/README.md": reference.index(crds), STATES: reference.states()}
    for body in crds:
        files[f"{PAGES}/{reference.page_name(body)}"] = reference.page(body)
        for folder in MANIFESTS:
            files[f"{folder}/{body['metadata']['name']}.yaml"] = to_yaml(body)
    return files


def write(root: Path) -> list[str]:
    """Make the folders under `root` hold exactly the generated files; the paths that changed."""
    files = generated()
    changed = []
    for folder in (*MANIFESTS, PAGES):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for stale in sorted((root / folder).iterdir()):
            if f"{folder}/{stale.name}" not in files:
                stale.unlink()
                changed.append(f"{folder}/{stale.name}")
    for path, text in files.items():
        target = root / path
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
            changed.append(path)
    return changed


if __name__ == "__main__":
    for name in write(Path.cwd()):
        print(f"wrote {name}", file=sys.stderr)
