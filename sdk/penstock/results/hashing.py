"""One hash for equal values, in every process. Called by cache policies.

Values are written as JSON that keeps apart what JSON does not (a list and a tuple, 1 and "1" as keys), with sets and
dicts in an order of their own; a part that JSON has no word for is pickled. Equal values of a class with no order of
its own (a pickled object holding a set of strings, say) may hash differently in another process: that is a miss, never
a wrong hit.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})


def hash_of(value: Any) -> str:
    """A hexadecimal hash. Raises what pickling raises, where a part of the value cannot be pickled."""
    if type(value) in _AS_THEY_ARE:
        return sha256(json.dumps(value).encode("utf-8", "surrogatepass")).hexdigest()
    try:
        text = json.dumps(_written(value))
    except RecursionError:  # it holds itself
        text = _pickled(value)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _written(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is list:
        return [_written(item) for item in value]
    if kind is dict:
        pairs = [(json.dumps(_written(key)), _written(item)) for key, item in value.items()]
        return {"dict": sorted(pairs, key=lambda pair: pair[0])}
    if kind is tuple:
        return {"tuple": [_written(item) for item in value]}
    if kind is set or kind is frozenset:
        return {kind.__name__: sorted(json.dumps(_written(item)) for item in value)}
    fields = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__pydantic_fields__", None)
    if fields is not None:
        held = {name: _written(getattr(value, name)) for name in sorted(fields)}
        return {"object": f"{kind.__module__}.{kind.__qualname__}", "fields": held}
    return {"pickle": _pickled(value)}


def _pickled(value: Any) -> str:
    import cloudpickle

    return b64encode(cloudpickle.dumps(value)).decode()
