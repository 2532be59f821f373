"""JSON patches as the API server applies them, for the API servers that tests play."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonpatch
import jsonpointer

Json = dict[str, Any]


class Refused(Exception):
    """The patch was refused: a test failed, or a place is not there."""


def applied(body: Json, ops: Sequence[Json]) -> Json:
    """The body after the patch, which is left as it is. Raises Refused.

    A test for null holds for what is not there, which RFC 6902 would have fail.
    """
    try:
        for number, op in enumerate(ops):
            if op["op"] == "test" and op["value"] is None:
                before = applied(body, ops[:number])
                if jsonpointer.resolve_pointer(before, op["path"], None) is None:
                    return applied(before, ops[number + 1 :])
        after: Json = jsonpatch.apply_patch(body, ops)
        return after
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise Refused(str(error)) from error


def doubled(body: Json) -> str | None:
    """The type of which the status has two conditions, which the API server refuses; None where it is in order."""
    found = [condition["type"] for condition in (body.get("status") or {}).get("conditions") or ()]
    return next((type_ for type_ in found if found.count(type_) > 1), None)
