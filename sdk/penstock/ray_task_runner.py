"""`RayTaskRunner`: submitted tasks on a Ray cluster, its own or one that is there. Needs `penstock[ray]`.

A task's retries, hooks and records stay in the flow's process; its function, arguments and result travel.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .errors import CancellationRequested, DefinitionError, WorkerLost
from .task_runners import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from .engine.effects import Call

__all__ = ["RayTaskRunner"]


class RayTaskRunner(TaskRunner):
    """Runs tasks as Ray tasks.

    Without `address` Ray is started here for the flow run and shut down at its end, unless the process is connected
    already. `remote_options` are those of `ray.remote`, such as `num_cpus` and `num_gpus`. A task that submits others
    has them run in threads of its worker.
    """

    def __init__(
        self,
        address: str | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        *,
        remote_options: Mapping[str, Any] | None = None,
        max_workers: int | None = None,
        max_in_flight: int | None = None,
    ) -> None:
        super().__init__(max_workers, max_in_flight=max_in_flight)
        self._address, self._init_kwargs = address, dict(init_kwargs or {})
        self._remote_options = dict(remote_options or {})

    def _renew(self) -> None:
        super()._renew()
        self.call = self._call_on_ray
        self._remote: Any = None
        self._owns = False
        self._waiting: set[Any] = set()
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        ray = _ray()
        from .engine.remote import answered

        super().__enter__()
        if not ray.is_initialized():
            options = {"include_dashboard": False, "log_to_driver": False, **self._init_kwargs}
            if self._address is not None:
                options = {**self._init_kwargs, "address": self._address}
            ray.init(**options)
            self._owns = True
        # Retries are the task's own: Ray must not repeat what a worker died of.
        self._remote = ray.remote(answered).options(**{"max_retries": 0, **self._remote_options})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._owns:
            _ray().shutdown()
            self._owns = False

    def _call_on_ray(self, effect: Call) -> Any:
        from .engine.file_modules import texts
        from .engine.remote import packed_request, unpacked_answer

        ray = _ray()
        reference = self._remote.remote(packed_request(effect), texts())
        with self._lock:
            self._waiting.add(reference)
        try:
            payload = ray.get(reference)
        except ray.exceptions.TaskCancelledError:
            raise CancellationRequested("its flow ended before it did") from None
        except ray.exceptions.RayError as error:
            if self._ending.is_set():
                raise CancellationRequested("its flow ended before it did") from None
            raise WorkerLost(f"the Ray worker that ran the task went away without an answer: {error}") from error
        finally:
            with self._lock:
                self._waiting.discard(reference)
        return unpacked_answer(payload)

    def drain(self, *, abandon: bool = False, grace: float | None = None) -> bool:
        """As every runner's; the workers of what is not done after `grace` seconds are killed."""
        if super().drain(abandon=abandon, grace=grace):
            return True
        self._ending.set()
        with self._lock:
            waiting = list(self._waiting)
        for reference in waiting:
            _ray().cancel(reference, force=True)
        return super().drain(grace=grace)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise DefinitionError("RayTaskRunner needs Ray: pip install 'penstock[ray]'") from error
    return ray
