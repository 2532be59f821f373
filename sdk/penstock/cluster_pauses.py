"""Resumes and suspends runs in the cluster: what is asked of a run goes into its spec, checked before it is written.

Called by `penstock resume` and `penstock suspend`, and by `resume_flow_run` and `suspend_flow_run`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import json_inputs
from .api.bounds import MAX_INPUT
from .api.states import StateType
from .errors import InvalidRunInput, NotPausedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import Client

Body = dict[str, Any]


def pause_of(run: Body) -> Body | None:
    """What the run waits for; None where it waits for nobody."""
    status = run.get("status") or {}
    if (status.get("state") or {}).get("type") != StateType.PAUSED:
        return None
    found: Body | None = status.get("pause")
    return found


def problems(pause: Body, given: Mapping[str, Any]) -> list[str]:
    """What is wrong with an input, each as `path: why`; empty where it fits."""
    size = len(json.dumps(given))
    if size > MAX_INPUT:
        return [f"input: {size} bytes of JSON, at most {MAX_INPUT}"]
    schema = pause.get("schema")
    if schema is None:
        return ["input: the run waits to be resumed, and for no input"] if given else []
    return [str(problem) for problem in json_inputs.problems(schema, given, what="input")]


def resume(client: Client, run: Body, given: Mapping[str, Any] | None = None) -> None:
    """Answer the pause that the run is in, or let go on what spec.suspend has stopped.

    Raises NotPausedError and InvalidRunInput; the run is then as it was.
    """
    name, pause = run["metadata"]["name"], pause_of(run)
    held = bool(run["spec"].get("suspend"))
    state = (run.get("status") or {}).get("state") or {}
    ops: list[Body] = [{"op": "test", "path": "/metadata/uid", "value": run["metadata"]["uid"]}]
    if held:
        ops.append({"op": "add", "path": "/spec/suspend", "value": False})
    if pause is not None and not (state.get("reason") == "SuspendRequested" and not given):
        wrong = problems(pause, given or {})
        if wrong:
            raise InvalidRunInput(f"run {name} waits on: {'; '.join(wrong)}")
        answer: Body = {"pause": pause["id"]}
        if "schema" in pause:
            answer["input"] = dict(given or {})
        # The pause that was looked at: whoever answers another one meanwhile has answered that, and this is refused.
        ops.append({"op": "test", "path": "/status/pause/id", "value": pause["id"]})
        ops.append({"op": "add", "path": "/spec/resume", "value": answer})
    elif not held and pause is None:
        raise NotPausedError(f"run {name} is {state.get('name', 'not accepted yet')}: it waits for nobody")
    if len(ops) > 1:
        client.patch("flowruns", name, ops)


def suspend(client: Client, run: Body) -> None:
    """Ask the run to stop, or not to start. Raises NotPausedError where it has ended."""
    name, state = run["metadata"]["name"], (run.get("status") or {}).get("state") or {}
    if state and StateType(state["type"]).terminal:
        raise NotPausedError(f"run {name} has ended already: {state['name']}")
    client.merge("flowruns", name, {"spec": {"suspend": True}})
