"""How a condition of a run is written beside those of others: in its own place, so that nobody's are lost.

Called by the operator and by runners, who write conditions of one run at the same time and know of each other's writes
late. Needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

PATH = "/status/conditions"

Body = dict[str, Any]


def patch(known: Sequence[Body] | None, wanted: Iterable[Body]) -> list[Body]:
    """The JSON patch that sets the conditions `wanted`, each type once; `known` as they were read, None for no list.

    It is refused where a condition that it replaces is another by now. What somebody else has added meanwhile stays,
    and the API server, for which the list is a map by type, refuses a second one of a type. Messages are not tested:
    the API server compares strings as they are escaped, which each client does in its own way.
    """
    if known is None:
        new = list(wanted)
        none_yet = {"op": "test", "path": PATH, "value": None}  # the API server takes what is not there for null
        return [none_yet, {"op": "add", "path": PATH, "value": new}] if new else []
    places = {condition["type"]: place for place, condition in enumerate(known)}
    ops: list[Body] = []
    for condition in wanted:
        place = places.get(condition["type"])
        if place is None:
            ops.append({"op": "add", "path": f"{PATH}/-", "value": condition})
            continue
        for field in ("type", "lastTransitionTime"):
            if field in known[place]:
                ops.append({"op": "test", "path": f"{PATH}/{place}/{field}", "value": known[place][field]})
        ops.append({"op": "replace", "path": f"{PATH}/{place}", "value": condition})
    return ops
