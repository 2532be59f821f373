"""What reconcilers are given, by the controller: the cache they read, the poster of Events, the time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from ..cluster import ResourceType
from ..core import resolve
from ..core.admission import Line
from ..core.diagnosis import Diagnosis
from ..core.nodes import Silence
from ..core.orphans import Orphan
from ..core.views import LeaseView, PodView, RunView
from ..core.workers import Member, Worker

Body = dict[str, Any]
Clock = Callable[[], datetime]
Read = Callable[[ResourceType, str, str], Awaitable[Body | None]]
"""An object by kind, namespace and name, or None; nobody may change it."""


class Key(NamedTuple):
    """A namespaced object."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """Look at the key again: at a time, or when the object it waits for changes."""

    at: datetime | None = None
    waits_for: tuple[str, str] | None = None


class Orphans(Protocol):
    """Who knows the processes of deleted runs in warm workers."""

    def of_run(self, key: Key) -> Sequence[Orphan]:
        """Those of runs of that name."""

    def put(self, orphan: Orphan) -> None:
        """There is one, or more is known of it."""

    def forget(self, orphan: Orphan) -> None:
        """It has ended, or was none."""


class Cache(Protocol):
    """The informers' view, with the operator's own writes upon it until their echo arrives."""

    @property
    def orphans(self) -> Orphans:
        """What deleted runs have left in warm workers."""

    def run(self, key: Key) -> Body | None:
        """The run, None once it is settled or deleted."""

    def deployment(self, key: Key) -> Body | None:
        """What `core.schedules` keeps of a FlowDeployment."""

    def pods(self, key: Key) -> Sequence[Body]:
        """Pods that carry the run's name."""

    def jobs(self, key: Key) -> Sequence[Body]:
        """Jobs that carry the run's name."""

    def children(self, key: Key) -> Sequence[Body]:
        """Runs that are not settled and name this one as their parent."""

    def job(self, key: Key, name: str) -> Body | None:
        """The Job of that name."""

    def lost_nodes(self) -> frozenset[str]:
        """Nodes that are deleted or out of service while pods still name them."""

    def silent_nodes(self) -> Mapping[str, Silence]:
        """Nodes that are there and not ready."""

    def told(self, uid: str) -> Diagnosis | None:
        """Why the object with that uid does not start, as its Events say; None where they say nothing."""

    def departed(self, uid: str) -> Body | None:
        """The pod with that uid as it was last seen, where it was deleted lately."""

    def remember(self, body: Body) -> None:
        """Take over what a write or a consistent read answered: a run, a pod, a Job or a Node."""

    def forget_pod(self, key: Key, name: str) -> None:
        """A consistent read did not find this pod."""

    def forget_job(self, key: Key, name: str) -> None:
        """A consistent read did not find this Job."""

    def forget_node(self, name: str) -> None:
        """A consistent read did not find this Node."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The run may start: it holds its slots from now on; `admitted` is what its status is to say of them."""

    admitted: Body


class Slots(Protocol):
    """Who grants slots; it names the key of a run that waits when it is admitted or is to be told something else."""

    def ask(
        self, run: RunView, pool: str, said: Iterable[tuple[str, Body]] = ()
    ) -> Grant | resolve.Waiting | resolve.Displaced:
        """Whether a run that could start may; else it waits, or gives way. `said`: fresh bodies of its deployment and
        its pool, with their kinds."""

    def waits(self, run: RunView) -> tuple[resolve.Waiting | resolve.Displaced, Body] | None:
        """What a run waits for that has asked before, with what matters meanwhile of its deployment's spec."""

    def crowded(self, run: RunView) -> bool:
        """Whether the run will most likely have to wait, for others do in the pool that it seems to be for."""

    def displaced(self, run: RunView) -> resolve.Displaced | None:
        """Why the run is to be cancelled for others, if it is."""

    def observe(self, run: RunView, *, gone: bool) -> None:
        """A run that does not ask: it holds slots while its attempt goes on, by its state, and else none.

        `gone`: nothing of the attempt runs.
        """

    def deleted(self, key: Key) -> None:
        """There is no such run, or it is settled: what it held is haunted until `release`."""

    def haunt(self, key: Key, uid: str, limits: Line, deployment: str | None) -> None:
        """Something is there of a run that is deleted: if nobody knew it, it holds these until `release`."""

    def haunted(self, key: Key) -> bool:
        """Whether slots are held by what a deleted run of that name has left."""

    def release(self, key: Key) -> None:
        """Nothing is left of those."""


class Workers(Protocol):
    """Who knows the warm workers."""

    def lease(self, namespace: str, worker: str) -> LeaseView | None:
        """The Lease of the worker of that name."""

    def pod(self, namespace: str, worker: str) -> PodView | None:
        """The pod of that name, where it is a worker's that the operator has made."""

    def silent(self, namespace: str, worker: str) -> bool:
        """Whether that Lease has not changed for as long as it is good for."""

    def quiet(self, namespace: str, worker: str) -> float:
        """Seconds since that Lease was heard to change."""

    def of_pool(self, pool: Key) -> list[Worker]:
        """The workers of a pool."""

    def members(self, pool: Key) -> list[Member]:
        """The pods that the operator has made as workers of a pool."""

    def pool(self, pool: Key) -> Body | None:
        """The pool as it was last heard of; None where it is gone, or was not heard of yet."""

    def heard_pool(self, body: Body) -> None:
        """A pool was read, or has changed."""

    def read(self, worker: Key, lease: Body | None, pod: Body | None) -> None:
        """What consistent reads found under the names of a worker's Lease and pod."""

    def made(self, pod: Body) -> None:
        """The pod of a worker was made."""

    def choose(self, run: RunView, pool: str, *, beyond: bool) -> Worker | None:
        """A worker for the run, which has a place of it from now on, by this promise until `settle`; None for none.

        `beyond`: one that is full will do, too.
        """

    def queued(self, pool: Key) -> int:
        """How many runs wait for nothing but a worker of the pool."""

    def settle(self, run: RunView) -> None:
        """What was chosen for the run is written by now, or will not be."""

    def drain(self, pool: Key, names_: Iterable[str]) -> None:
        """These get no more runs, though their Leases do not say so yet."""

    def untold(self, pool: Key) -> tuple[str, ...]:
        """Names of those that are drained, and whose Leases do not say so yet."""


class Logs(Protocol):
    """The keeper of pods' logs."""

    async def follow(self, pods: Iterable[Body]) -> None:
        """Have the logs of pods that are about to be deleted read to their end; returns once they are open, or soon."""


class Events(Protocol):
    """The poster of Events."""

    def tell(self, run: Body) -> None:
        """See that there are Events of what has happened to a run; returns at once, and telling again is harmless."""

    async def flush(self, run_uid: str) -> None:
        """Return when everything queued for the run was sent or given up."""
