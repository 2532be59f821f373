"""`DaskTaskRunner`: submitted tasks on a Dask cluster, its own or one that is there. Needs `penstock[dask]`.

A task's retries, hooks and records stay in the flow's process; its function, arguments and result travel.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .errors import CancellationRequested, DefinitionError, WorkerLost
from .task_runners import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from .engine.effects import Call

__all__ = ["DaskTaskRunner"]


class DaskTaskRunner(TaskRunner):
    """Runs tasks on the workers of a Dask cluster.

    Without `cluster` or `address` it starts one for the flow run, by default a `distributed.LocalCluster`, and closes
    it at the end. A task that submits others has them run in threads of its worker.
    """

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: str | Callable[..., Any] | None = None,
        cluster_kwargs: Mapping[str, Any] | None = None,
        adapt_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        *,
        max_workers: int | None = None,
        max_in_flight: int | None = None,
    ) -> None:
        if sum(given is not None for given in (cluster, address, cluster_class)) > 1:
            raise DefinitionError("DaskTaskRunner: give one of cluster, address and cluster_class")
        if (cluster is not None or address is not None) and (cluster_kwargs or adapt_kwargs):
            raise DefinitionError("DaskTaskRunner: cluster_kwargs and adapt_kwargs are for a cluster of its own")
        super().__init__(max_workers, max_in_flight=max_in_flight)
        self._given, self._address, self._cluster_class = cluster, address, cluster_class
        self._cluster_kwargs, self._adapt_kwargs = dict(cluster_kwargs or {}), dict(adapt_kwargs or {})
        self._client_kwargs = dict(client_kwargs or {})

    def _renew(self) -> None:
        super()._renew()
        self.call = self._call_on_dask
        self._client: Any = None
        self._own: Any = None
        self._waiting: set[Any] = set()
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        distributed = _distributed()
        super().__enter__()
        target = self._given if self._given is not None else self._address
        if target is None:
            # What kills a worker would otherwise be tried on three more of them before anybody is told.
            import dask

            with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                target = self._own = self._make_cluster(distributed)
        self._client = distributed.Client(target, asynchronous=False, set_as_default=False, **self._client_kwargs)
        return self

    def _make_cluster(self, distributed: Any) -> Any:
        kind = self._cluster_class
        if isinstance(kind, str):
            from importlib import import_module

            module, _, name = kind.rpartition(".")
            kind = getattr(import_module(module), name)
        options = {"asynchronous": False, **self._cluster_kwargs}
        if kind is None:
            kind = distributed.LocalCluster
            options = {"dashboard_address": ":0", **options}
        cluster = kind(**options)
        if self._adapt_kwargs:
            cluster.adapt(**self._adapt_kwargs)
        return cluster

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._client is not None:
            self._client.close()
        if self._own is not None:
            self._own.close()

    def _call_on_dask(self, effect: Call) -> Any:
        from .engine.file_modules import texts
        from .engine.remote import answered, packed_request, unpacked_answer

        distributed = _distributed()
        future = self._client.submit(answered, packed_request(effect), texts(), pure=False)
        with self._lock:
            self._waiting.add(future)
        try:
            payload = future.result()
        except distributed.CancelledError:
            if self._ending.is_set():
                raise CancellationRequested("its flow ended before it did") from None
            raise WorkerLost("the Dask cluster gave the task up: its scheduler or its client was closed") from None
        except distributed.KilledWorker as error:
            raise WorkerLost(
                f"the Dask worker {error.last_worker.address} that ran the task went away without an answer: "
                "look into its log; most often it was killed for the memory it took"
            ) from error
        finally:
            with self._lock:
                self._waiting.discard(future)
        return unpacked_answer(payload)

    def drain(self, *, abandon: bool = False, grace: float | None = None) -> bool:
        """As every runner's; what is not done after `grace` seconds is cancelled.

        A function that a worker executes is not stopped by that; a cluster of the runner's own is closed under it.
        """
        if super().drain(abandon=abandon, grace=grace):
            return True
        self._ending.set()
        with self._lock:
            waiting = list(self._waiting)
        self._client.cancel(waiting, force=True)
        return super().drain(grace=grace)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise DefinitionError("DaskTaskRunner needs Dask: pip install 'penstock[dask]'") from error
    return distributed
