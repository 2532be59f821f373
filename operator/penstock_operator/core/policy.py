"""Deadlines and retries of a run: its own word first, then its deployment's, then its pool's, then the default."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from penstock.api import reasons

from .diagnosis import Diagnosis
from .views import Body

DEFAULT_PENDING_DEADLINE = 600
DEFAULT_FORCE_AFTER = 300  # as long as Kubernetes itself tolerates a node that is not ready
DEFAULT_LATE_AFTER = 15  # as Prefect's late-runs service
MAX_BACKOFF = 3600


@dataclass(frozen=True, slots=True)
class InfraRetries:
    """How often, when and for what an attempt that the infrastructure ended is followed by another."""

    limit: int = 0
    backoff_seconds: int = 0
    reasons: tuple[str, ...] | None = None
    exit_codes: tuple[int, ...] | None = None
    on_preemption: str = "Retry"

    def allows(self, why: Diagnosis, used: int) -> bool:
        """Whether another attempt follows one that ended so."""
        preempted = why.reason in (reasons.PREEMPTED, reasons.EVICTED)
        if preempted and self.on_preemption == "Fail":
            return False
        if self.free(why):
            return True
        return used < self.limit and self.excludes(why) is None

    def excludes(self, why: Diagnosis) -> str | None:
        """Which rule allows no attempt after one that ended so, however much of the budget is left; None for none."""
        if why.reason in (reasons.PREEMPTED, reasons.EVICTED) and self.on_preemption == "Fail":
            return "no other attempt: infraRetries.onPreemption is Fail"
        if self.reasons is not None and why.reason not in self.reasons:
            return f"no other attempt: infraRetries.reasons does not list {why.reason}"
        if self.exit_codes is not None and why.exit_code not in self.exit_codes:
            code = "the end has no exit code" if why.exit_code is None else f"they do not list {why.exit_code}"
            return f"no other attempt: infraRetries.exitCodes are set, and {code}"
        return None

    def free(self, why: Diagnosis) -> bool:
        """Whether that attempt costs nothing of the budget."""
        return self.on_preemption == "Ignore" and why.reason in (reasons.PREEMPTED, reasons.EVICTED)

    def next_start(self, lost: datetime, used: int) -> datetime:
        """When an attempt may start after the `used`-th loss: the backoff doubles, up to an hour."""
        return lost + timedelta(seconds=min(self.backoff_seconds * 2 ** max(used - 1, 0), MAX_BACKOFF))


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for one run; seconds."""

    pending_deadline: int = DEFAULT_PENDING_DEADLINE
    active_deadline: int | None = None
    starting_deadline: int | None = None
    infra_retries: InfraRetries = InfraRetries()
    late_after: int = DEFAULT_LATE_AFTER
    """After so long past its time a run that cannot start is called Late."""
    force_after: int | None = None
    """Silence of a node after which its pods are deleted by force; None: never."""
    retry_silent: bool = False
    """Whether a worker outside the cluster that fell silent is a loss that `infra_retries` are for."""
    shared_results: bool = False  # another pod finds what this one keeps: the run may be suspended


def policy(run: Body, deployment: Body | None, pool: Body | None, late_after: int = DEFAULT_LATE_AFTER) -> Policy:
    """The policy of a run from the specs of run, deployment and pool."""
    layers = [spec for spec in (run, deployment, pool) if spec]

    def first(name: str) -> Any:
        return next((spec[name] for spec in layers if spec.get(name) is not None), None)

    retries = first("infraRetries") or {}
    lost = (pool or {}).get("onNodeLost") or {}
    wanted, codes = retries.get("reasons"), retries.get("exitCodes")
    return Policy(
        pending_deadline=first("pendingDeadlineSeconds") or DEFAULT_PENDING_DEADLINE,
        active_deadline=first("activeDeadlineSeconds"),
        starting_deadline=first("startingDeadlineSeconds"),
        infra_retries=InfraRetries(
            limit=retries.get("limit") or 0,
            backoff_seconds=retries.get("backoffSeconds") or 0,
            reasons=None if wanted is None else tuple(wanted),
            exit_codes=None if codes is None else tuple(codes),
            on_preemption=retries.get("onPreemption") or "Retry",
        ),
        late_after=late_after,
        retry_silent=((pool or {}).get("worker") or {}).get("onWorkerLost") == "Retry",
        force_after=(lost.get("afterSeconds") or DEFAULT_FORCE_AFTER) if lost.get("policy") == "ForceDelete" else None,
    )
