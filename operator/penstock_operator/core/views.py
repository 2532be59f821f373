"""Typed views of the objects a decision reads: cheap properties over the bodies as the API server sends them.

The bodies are not copied and must not be changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from penstock.api import labels, names, workers
from penstock.api.states import StateType

Body = dict[str, Any]


def parse_time(text: str | None) -> datetime | None:
    """A Kubernetes timestamp; None for none."""
    if not text:
        return None
    return datetime.fromisoformat(text.upper())  # the API server takes lower-case t and z, too


def format_time(time: datetime) -> str:
    """RFC 3339 with microseconds, UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_seconds(time: datetime) -> str:
    """RFC 3339 in whole seconds, UTC: for times that people read in a table."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_microseconds(text: str) -> str:
    """A Kubernetes timestamp, whatever its precision and zone, as `format_time` writes it."""
    return format_time(datetime.fromisoformat(text.upper()))


@dataclass(frozen=True)
class RunView:
    """A FlowRun."""

    body: Body

    @cached_property
    def metadata(self) -> Body:
        return self.body.get("metadata") or {}

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation") or 0)

    @property
    def deleting(self) -> bool:
        return bool(self.metadata.get("deletionTimestamp"))

    @cached_property
    def spec(self) -> Body:
        return self.body.get("spec") or {}

    @cached_property
    def status(self) -> Body:
        return self.body.get("status") or {}

    @cached_property
    def state(self) -> Body:
        return self.status.get("state") or {}

    @property
    def type(self) -> StateType | None:
        """None before it was accepted."""
        word = self.state.get("type")
        return StateType(word) if word else None

    @property
    def seq(self) -> int:
        return int(self.state.get("seq") or 0)

    @property
    def entered(self) -> datetime | None:
        """When the current state was entered."""
        return parse_time(self.state.get("time"))

    @property
    def attempt(self) -> int:
        return int(self.status.get("attempt") or 0)

    @property
    def settled(self) -> bool:
        return bool(self.status.get("settled"))

    @property
    def observed_seq(self) -> int:
        return int(self.status.get("observedSeq") or 0)

    @property
    def claimed_uid(self) -> str | None:
        """uid of the pod that claimed the current attempt."""
        return (self.status.get("pod") or {}).get("uid")

    @cached_property
    def history(self) -> list[Body]:
        return list(self.status.get("history") or [])

    @cached_property
    def resolved(self) -> Body:
        return self.status.get("resolved") or {}

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for its end."""
        return bool(self.spec.get("cancel"))

    @property
    def suspend(self) -> bool:
        """Whether it is to stop, or not to start."""
        return bool(self.spec.get("suspend"))

    @property
    def parent(self) -> Body:
        """Name, uid and `awaited` of the run that made it; empty for none."""
        return self.spec.get("parent") or {}

    @property
    def backfill(self) -> str:
        """Name of the Backfill that made it; empty for none."""
        return str((self.metadata.get("labels") or {}).get(labels.BACKFILL) or "")

    @property
    def in_parent(self) -> bool:
        """Whether it runs in its parent's process, and so has no pod of its own."""
        return self.spec.get("infrastructure") == "Parent"

    @property
    def of_attempt(self) -> int:
        """The parent's attempt in whose process it runs: its own word, else that of the label it was made with."""
        label = str((self.metadata.get("labels") or {}).get(labels.ATTEMPT) or "")
        return self.attempt or (int(label) if label.isdigit() else 0)

    def condition(self, type_: str) -> Body | None:
        """The condition of that type."""
        return next((c for c in self.status.get("conditions") or [] if c["type"] == type_), None)


@dataclass(frozen=True)
class PodView:
    """A Pod of a run."""

    body: Body

    @cached_property
    def metadata(self) -> Body:
        return self.body.get("metadata") or {}

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def deleting(self) -> bool:
        return bool(self.metadata.get("deletionTimestamp"))

    @property
    def deletion_time(self) -> str | None:
        """When its grace ends, once its deletion was asked for."""
        return self.metadata.get("deletionTimestamp")

    @property
    def attempt(self) -> int:
        return int((self.metadata.get("labels") or {}).get(labels.ATTEMPT) or 0)

    @cached_property
    def status(self) -> Body:
        return self.body.get("status") or {}

    @property
    def phase(self) -> str:
        return str(self.status.get("phase") or "Pending")

    @property
    def gone(self) -> bool:
        """Whether none of its processes can run any more, by its own phase."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def flow_ended(self) -> bool:
        """Whether the container of user code has ended, which is never started again; others may go on."""
        return "terminated" in (self.container().get("state") or {})

    @property
    def node(self) -> str | None:
        return (self.body.get("spec") or {}).get("nodeName")

    @property
    def gates(self) -> list[str]:
        """What has to be taken away before the scheduler looks at it."""
        return [str(gate.get("name")) for gate in (self.body.get("spec") or {}).get("schedulingGates") or []]

    @property
    def kueue(self) -> str | None:
        """Kueue's queue that it is in."""
        return (self.metadata.get("labels") or {}).get(labels.KUEUE_QUEUE)

    def container(self, name: str = labels.CONTAINER) -> Body:
        """Status of one container; empty while the kubelet has said nothing."""
        return next((c for c in self.status.get("containerStatuses") or [] if c["name"] == name), {})


@dataclass(frozen=True)
class JobView:
    """The Job of an attempt."""

    body: Body

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])

    @property
    def deleting(self) -> bool:
        return bool(self.body["metadata"].get("deletionTimestamp"))

    @property
    def attempt(self) -> int:
        return int((self.body["metadata"].get("labels") or {}).get(labels.ATTEMPT) or 0)

    @property
    def suspended(self) -> bool:
        """Whether it makes no pods, and ends those that it has."""
        return bool((self.body.get("spec") or {}).get("suspend"))

    @property
    def kueue(self) -> str | None:
        """Kueue's queue that it is in."""
        return (self.body["metadata"].get("labels") or {}).get(labels.KUEUE_QUEUE)

    @property
    def failure(self) -> Body | None:
        """The condition that says why it failed, once it has."""
        conditions = (self.body.get("status") or {}).get("conditions") or []
        return next((c for c in conditions if c["type"] == "Failed" and c["status"] == "True"), None)

    @property
    def finished(self) -> bool:
        conditions = (self.body.get("status") or {}).get("conditions") or []
        return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


@dataclass(frozen=True)
class LeaseView:
    """The Lease of a warm worker."""

    body: Body

    @cached_property
    def metadata(self) -> Body:
        return self.body["metadata"]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """Name of the Lease."""
        return str(self.metadata["name"])

    @property
    def worker(self) -> str:
        """Name of the worker."""
        return self.name.removeprefix(names.worker_lease(""))

    @property
    def pool(self) -> str:
        """The pool whose runs it takes; empty for none."""
        return str((self.metadata.get("labels") or {}).get(labels.POOL) or "")

    @cached_property
    def spec(self) -> Body:
        return self.body.get("spec") or {}

    @property
    def holder(self) -> str:
        """uid of the worker that holds it; empty for nobody."""
        return str(self.spec.get("holderIdentity") or "")

    @property
    def seconds(self) -> int:
        """How long it is good for once it is renewed."""
        said = self.spec.get("leaseDurationSeconds") or workers.LEASE_SECONDS
        return min(max(int(said), workers.LEASE_SECONDS), workers.LONGEST_LEASE)

    @property
    def beat(self) -> tuple[str, str]:
        """What each renewal changes, as an edit of its labels does not."""
        return self.holder, str(self.spec.get("renewTime") or "")

    @cached_property
    def facts(self) -> workers.WorkerFacts | None:
        """What the worker that holds it says of itself; None where that makes no sense."""
        said = workers.facts((self.metadata.get("annotations") or {}).get(labels.WORKER_FACTS))
        return said if said and said.uid == self.holder else None

    @cached_property
    def deleted_runs(self) -> list[workers.DeletedRun]:
        """Runs that were deleted while the worker had a process for them, and the ends of such processes."""
        said = (self.metadata.get("annotations") or {}).get(labels.DELETED_RUNS)
        return workers.deleted_runs(said) if self.facts else []

    @property
    def managed(self) -> bool:
        """Whether the operator made its pod, which then says whether the worker lives."""
        return self.facts is not None and self.facts.pod is not None

    @property
    def drains(self) -> bool:
        """Whether it takes no more runs."""
        return (self.metadata.get("annotations") or {}).get(labels.DRAIN) == "true"
