"""YAML that every reader of YAML reads the same: strings are quoted wherever one of them could see something else.

PyYAML reads YAML 1.1 and writes `y` bare, which kubectl then reads as `true`; so all values that are strings are
quoted, and keys that are not plain words. Long texts stay readable as blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

_PLAIN_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_./-]{2,}$")
_WORDS = frozenset({"yes", "no", "true", "false", "null", "off", "nan", "inf"})


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's own
        return super().increase_indent(flow, False)


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    lines = text.split("\n")
    if len(lines) > 1 and all(line == line.rstrip() for line in lines) and text.isprintable() is False:
        block = "\t" not in text and all(char.isprintable() or char == "\n" for char in text)
        if block and not text.startswith((" ", "\n")):
            return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


def _mapping(dumper: yaml.SafeDumper, pairs: dict[str, Any]) -> yaml.Node:
    node = dumper.represent_mapping("tag:yaml.org,2002:map", pairs.items())
    for key, _ in node.value:
        if _PLAIN_KEY.match(key.value) and key.value.lower() not in _WORDS:
            key.style = None
    return node


_Dumper.add_representer(str, _string)
_Dumper.add_representer(dict, _mapping)


def dump(documents: Iterable[dict[str, Any] | list[dict[str, Any]]]) -> str:
    """The objects, or lists of them, as YAML documents, keys in their own order."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000) for document in documents
    )
