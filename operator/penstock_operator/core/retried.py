"""A run that retries another (`spec.retryOf`): what it takes from the old one, and when it cannot.

Called by `reconcile.references` when the run's references are looked up. What comes of the old run's results is the
runner's: it finds them under the uid that `status.resolved.resultsOf` names.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.api import reasons
from penstock.api.delivery import pinned
from penstock.api.sharing import shared_by_pods

from .resolve import Outcome, Refused, Resolution, overrides_refused, pod_overrides, pool_facts
from .views import Body, RunView


def refused(run: RunView, old: RunView | None) -> Refused | None:
    """Why the run cannot retry `old`, the run that has the name now; None where it can."""
    wanted = run.spec["retryOf"]
    if old is None or old.uid != wanted["uid"]:
        return _no(f"there is no FlowRun {wanted['name']} with uid {wanted['uid']}: it was deleted; make a run anew")
    if old.in_parent or "task" in old.spec:
        of = f"a subflow of {old.parent['name']}" if old.in_parent else f"a task of {old.parent['name']}"
        return _no(f"FlowRun {old.name} is {of}: retry that run")
    for reference in ("deploymentRef", "flowRef"):
        if run.spec.get(reference) != old.spec.get(reference):
            return _no(f"FlowRun {old.name} is not of the same {reference}: leave the old run's as it is")
    if old.type is None or not old.type.terminal:
        word = "is new" if old.type is None else f"goes on ({old.state['name']})"
        return _no(f"FlowRun {old.name} {word}: wait for its end, or set its spec.cancel")
    given = run.spec.get("parameters")
    if given is not None and given not in (old.spec.get("parameters"), parameters(old)):
        return Refused(
            reasons.INVALID_PARAMETERS,
            f"spec.parameters: a retry takes those of {old.name}; leave them out, or make a run that is no retry",
        )
    return None


def _no(problem: str) -> Refused:
    return Refused(reasons.NOT_RETRYABLE, f"spec.retryOf: {problem}")


def parameters(old: RunView) -> Body:
    """What the old run was given, its deployment's beneath."""
    given: Body = old.status.get("parameters") or old.spec.get("parameters") or {}
    return given


def pool_name(run: RunView, old: RunView) -> str:
    """The pool of a retry: the old run's, unless it names another."""
    return str(run.spec.get("workPool") or old.resolved["pool"]["name"])


def as_before(run: RunView, old: RunView, kept: Body | None, pool: Body) -> Outcome:
    """The outcome for a retry: the very code, image and deployment that the old run was resolved to.

    `kept` is the spec of that revision of the deployment. The pool is as it is now: whoever
    raised its memory wants that, and what it forbids since is forbidden.
    """
    problem = overrides_refused(pool, *pod_overrides(run, {"spec": kept} if kept is not None else None))
    if problem:
        return Refused(reasons.INVALID_OVERRIDES, problem)
    found = {**pinned(old.resolved, old.status.get("code")), **pool_facts(pool)}
    image = (run.spec.get("pod") or {}).get("image")
    if image:
        found["image"] = image
    return with_results(Resolution(found, pool, None, (), parameters(old)), old)


def with_results(outcome: Outcome, old: RunView) -> Outcome:
    """The outcome, with the results of the old run to be found by the new one."""
    if not isinstance(outcome, Resolution):
        return outcome
    said = f"retry of {old.name}"
    if not shared_by_pods(outcome.status.get("results"), outcome.pool["spec"].get("results")):
        said += (
            f"; WorkPool {outcome.status['pool']['name']} has no result store that pods share: every task runs again"
        )
    return replace(outcome, status={**outcome.status, "resultsOf": origin(old)}, said=said)


def origin(old: RunView) -> str:
    """The uid under which the old run's results are kept: that of the first run in a row of retries."""
    return str(old.resolved.get("resultsOf") or old.uid)
