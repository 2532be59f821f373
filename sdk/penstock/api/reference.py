"""Reference pages: pure functions from a CustomResourceDefinition, and from the table of states, to Markdown.

`crd_files` writes what this returns. The text is the models' own docstrings, so that `kubectl explain` and the pages
say the same; the diagram of states is drawn from the table that the API server enforces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .crd import RULES
from .states import TRANSITIONS, StateType

Json = dict[str, Any]

NOTE = "<!-- Generated from sdk/penstock/api by `make crds`. Do not edit. -->\n"
_TOP_LEVEL = ("apiVersion", "kind", "metadata")
_KEEPS = "x-kubernetes-preserve-unknown-fields"


def page_name(crd: Json) -> str:
    """File name of a kind's page."""
    return f"{crd['spec']['names']['singular']}.md"


def index(crds: Iterable[Json]) -> str:
    """The page that lists all kinds."""
    rows = [
        f"| [{crd['spec']['names']['kind']}]({page_name(crd)}) | `{crd['spec']['names']['shortNames'][0]}` "
        f"| {_schema(crd)['description']} |"
        for crd in crds
    ]
    head = ["# The kinds of Penstock", "", "| kind | short | what it is |", "| --- | --- | --- |"]
    return NOTE + "\n".join([*head, *rows]) + "\n"


def states() -> str:
    """The page of states: a diagram of the legal moves, and what each state means."""
    moves = [
        f"    {current or '[*]'} --> {following}"
        for current, legal in TRANSITIONS.items()
        for following in StateType
        if following in legal and following is not current
    ]
    ends = [f"    {state} --> [*]" for state in StateType if state.terminal]
    rows = [f"| `{state}` | {'yes' if state.terminal else ''} | {state.meaning} |" for state in StateType]
    head = ["# States of a run", "", "```mermaid", "stateDiagram-v2", *moves, *ends, "```", ""]
    return NOTE + "\n".join([*head, "| state | terminal | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def page(crd: Json) -> str:
    """The page of one kind: how it is called, its columns, then a table of fields for each struct."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = _schema(crd)
    lines = [
        f"# {names['kind']}",
        "",
        schema["description"],
        "",
        f"`apiVersion: {crd['spec']['group']}/{version['name']}`, `kubectl get {names['plural']}` (or "
        f"`{names['shortNames'][0]}`). Columns: {_columns(version)}.",
    ]
    selectable = [field["jsonPath"].removeprefix(".") for field in version.get("selectableFields", [])]
    if selectable:
        lines += ["", f"Field selectors: {', '.join(f'`{path}`' for path in selectable)}."]
    top = {name: field for name, field in schema["properties"].items() if name not in _TOP_LEVEL}
    lines += _table({**schema, "properties": top})
    lines += _sections(top, "", {})
    return NOTE + "\n".join(lines) + "\n"


def _schema(crd: Json) -> Json:
    schema: Json = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _columns(version: Json) -> str:
    columns = version["additionalPrinterColumns"]
    wide = [column["name"] for column in columns if column.get("priority")]
    text = ", ".join(column["name"] for column in columns if not column.get("priority"))
    return text + (f"; with `-o wide` also {', '.join(wide)}" if wide else "")


def _sections(properties: Json, prefix: str, seen: dict[str, str]) -> Iterator[str]:
    """A section for every struct below, outer before inner; one that was `seen` at another path is not told again."""
    for name, field in properties.items():
        path, inner = f"{prefix}{name}", field
        while "items" in inner or "additionalProperties" in inner:
            path += "[]" if "items" in inner else "{}"
            inner = inner.get("items") or inner["additionalProperties"]
        if "properties" not in inner:
            continue
        content = repr({**inner, "description": ""})
        yield from ("", f"## {path}", "")
        if first := seen.get(content):
            yield f"{inner['description']} Fields as in `{first}`."
        else:
            seen[content] = path
            yield from (inner["description"], *_table(inner))
            yield from _sections(inner["properties"], f"{path}.", seen)


def _table(struct: Json) -> list[str]:
    rows = [_row(name, field, name in struct.get("required", ())) for name, field in struct["properties"].items()]
    lines = ["", "| field | type | meaning |", "| --- | --- | --- |", *rows]
    alone = (field for field in struct["properties"].values() if "properties" not in field)  # structs have a table
    rules = [rule["message"] for schema in (struct, *alone) for rule in schema.get(RULES, ())]
    return lines + (["", "Rules:", "", *(f"- {rule}" for rule in rules)] if rules else [])


def _row(name: str, field: Json, required: bool) -> str:
    meaning = " ".join(field["description"].split()).replace("|", "\\|")
    if "default" in field:
        meaning += f" Default: `{field['default']}`."
    return f"| `{name}`{' (required)' if required else ''} | {_type(field)} | {meaning} |"


def _type(field: Json) -> str:
    if "enum" in field:
        return " or ".join(f"`{word}`" for word in field["enum"])
    if "items" in field:
        keys = field.get("x-kubernetes-list-map-keys")
        unique = f", one for each {', '.join(keys)}" if keys else ""
        return f"list of {_type(field['items'])}, at most {field['maxItems']}{unique}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}, at most {field['maxProperties']}"
    if field.get(_KEEPS):
        return "any object" if field.get("type") == "object" else "any JSON value"
    if "properties" in field:
        return "struct"
    if field.get("format") == "date-time":
        return "time (RFC 3339)"
    return f"{field['type']}{_range(field)}"


def _range(field: Json) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", at least {low}"
    if field["type"] == "string":
        return f", up to {field['maxLength']} characters"
    return ""
