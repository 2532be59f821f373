"""Tables of artifacts: what people give, as it is kept, and as rows again. Called by `artifacts` and the command line.

Kept is `{columns, rows}`, for JSON objects have no order once an API server had them; written by hand, a list of
mappings or of lists is a table as well.
"""

from __future__ import annotations

from typing import Any

from .errors import InvalidResource


def kept(table: Any) -> Any:
    """A list of mappings or of lists, or a mapping of columns, as JSON with the order of its columns.

    Numbers that are none become null, dates ISO texts, whatever else has no JSON form its `str`.
    """
    if isinstance(table, dict):
        columns = [str(name) for name in table]
        cells = [list(column) for column in table.values()]
        height = max(map(len, cells), default=0)
        rows = [[column[n] if n < len(column) else None for column in cells] for n in range(height)]
        return {"columns": columns, "rows": [list(map(_jsonable, row)) for row in rows]}
    if not isinstance(table, list | tuple):
        raise InvalidResource(f"artifact table: a list of rows or a mapping of columns, not {type(table).__name__}")
    if table and all(isinstance(row, dict) for row in table):
        columns = list(dict.fromkeys(str(name) for row in table for name in row))
        named = [{str(name): value for name, value in row.items()} for row in table]
        return {"columns": columns, "rows": [[_jsonable(row.get(name)) for name in columns] for row in named]}
    for row in table:
        if not isinstance(row, list | tuple):
            raise InvalidResource(
                f"artifact table: its rows are all mappings or all lists; one is a {type(row).__name__}"
            )
    return {"rows": [list(map(_jsonable, row)) for row in table]}


def rows(data: Any) -> Any:
    """What is kept as a list of mappings, or of lists where columns have no names."""
    if not isinstance(data, dict) or "rows" not in data:
        return data
    columns = data.get("columns")
    return data["rows"] if columns is None else [dict(zip(columns, row, strict=False)) for row in data["rows"]]


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
