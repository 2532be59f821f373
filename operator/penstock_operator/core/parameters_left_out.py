"""A FlowRun as it is kept in memory: without parameters that are large. Pure.

Parameters may have 512 KiB, and with a deployment's stand twice in a run. They are needed once, when the run is
resolved, and are read again then.
"""

from __future__ import annotations

from typing import Any

import orjson

from .views import Body

KEPT = 8 * 1024  # bytes of JSON
LEFT_OUT: Body = {"...": "read them from the API server"}


def projection(run: Body) -> Body:
    """The run, with `LEFT_OUT` for large parameters; the one that was given stays as it is."""
    spec, status = run.get("spec") or {}, run.get("status") or {}
    if _is_large(spec.get("parameters")):
        run = {**run, "spec": {**spec, "parameters": LEFT_OUT}}
    if _is_large(status.get("parameters")):
        run = {**run, "status": {**status, "parameters": LEFT_OUT}}
    return run


def are_left_out(run: Body) -> bool:
    """Whether the run has more parameters than are kept."""
    return (run.get("spec") or {}).get("parameters") == LEFT_OUT


def _is_large(parameters: Any) -> bool:
    return bool(parameters) and len(orjson.dumps(parameters)) > KEPT
