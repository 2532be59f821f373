"""A new run that retries an old one: what it is made of, and when there can be none.

Used by `penstock retry` and `flow_runs.retry_flow_run`. What the operator makes of it, and refuses for whoever writes
the object by hand, is decided there (`spec.retryOf`); here it is said before anything is made.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .api import labels, names
from .api.sharing import shared_by_pods
from .api.states import StateType
from .errors import NotRetryable

if TYPE_CHECKING:
    from .client import Client

Body = dict[str, Any]

# What the new run says as the old one did; parameters and code are taken from what the old one was resolved to.
COPIED = (
    "deploymentRef",
    "flowRef",
    "workPool",
    "queue",
    "priority",
    "tags",
    "pod",
    "infraRetries",
    "pendingDeadlineSeconds",
    "startingDeadlineSeconds",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
)


def retry(client: Client, old: Body, name: str | None = None) -> tuple[Body, str | None]:
    """Create the run that retries `old`: the run, and what its user should be warned of.

    Raises NotRetryable, and what the API server says.
    """
    made = body_of(old, name)
    warned = warning(client, old)
    return client.create(made), warned


def body_of(old: Body, name: str | None = None) -> Body:
    """The FlowRun to create; its name is made up when unset. Pure. Raises NotRetryable."""
    meta, spec = old["metadata"], old["spec"]
    check(old)
    copied = {field: spec[field] for field in COPIED if field in spec}
    # Those that the flow was called with; the operator wants them equal, and needs them where it has to resolve anew.
    if "parameters" in spec:
        copied["parameters"] = spec["parameters"]
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "metadata": {
            "name": name or names.manual_run(meta["name"], secrets.token_hex(8)),
            "annotations": {labels.CAUSE: "retry"},
        },
        "spec": {**copied, "retryOf": {"name": meta["name"], "uid": meta["uid"]}},
    }


def check(old: Body) -> None:
    """Raise NotRetryable for a run that goes on, or that is a part of another."""
    name, spec = old["metadata"]["name"], old["spec"]
    if spec.get("infrastructure") == "Parent" or "task" in spec:
        parent = (spec.get("parent") or {}).get("name")
        what = "a task" if "task" in spec else "a subflow"
        raise NotRetryable(f"{name} is {what} of {parent}: retry that run")
    state = (old.get("status") or {}).get("state")
    if state is None or not StateType(state["type"]).terminal:
        now = "is new" if state is None else f"goes on ({state['name']})"
        raise NotRetryable(
            f"{name} {now}: wait for its end (penstock watch {name}) or cancel it (penstock cancel {name})"
        )


def warning(client: Client, old: Body) -> str | None:
    """What to say where pods share no result store, so that nothing of the old run is found."""
    from .client import ApiError

    resolved = (old.get("status") or {}).get("resolved") or {}
    pool = (resolved.get("pool") or {}).get("name") or old["spec"].get("workPool") or "default"
    given: Body | None = None
    if not (resolved.get("results") or {}).get("storage"):
        try:
            given = client.get("workpools", pool)["spec"].get("results")
        except ApiError:  # the operator says it then
            return None
    if shared_by_pods(resolved.get("results"), given):
        return None
    return (
        f"every task runs again: WorkPool {pool} has no result store that pods share (spec.results.url: s3://, gs:// "
        "or az://, or a folder on a shared volume with shared: true)"
    )
