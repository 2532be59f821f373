"""`@flow`: records a function and its options. Running one is `penstock.engine.flow_runs`'."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, overload

from .context import DRAWING
from .definitions import Definition, P, R, call_options
from .engine import flow_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from os import PathLike
    from typing import Self, Unpack

    from .definitions import Hook
    from .deployment_options import DeploymentOptions
    from .results.store import ResultStore
    from .runner.storage import Origin
    from .runner_deployments import RunnerDeployment
    from .serializers import Serializer
    from .task_runners import TaskRunner
    from .visualization import Graph

__all__ = ["Flow", "flow"]


class Flow(Definition[P, R]):
    """A function whose calls are runs, here or on Kubernetes."""

    OPTIONS: ClassVar[dict[str, Any]] = {
        **Definition.OPTIONS,
        "flow_run_name": None,
        "task_runner": None,
        "validate_parameters": True,
        "blocks": (),
    }
    HOOKS: ClassVar[tuple[str, ...]] = (*Definition.HOOKS, "on_cancellation", "on_crashed")

    flow_run_name: str | Callable[..., str] | None
    task_runner: TaskRunner | None
    validate_parameters: bool
    blocks: tuple[str, ...]
    on_cancellation_hooks: list[Hook]
    on_crashed_hooks: list[Hook]
    origin: Origin | None = None
    """Where `from_source` had it from, which is where its runs get it from."""
    declared_version: str | None
    """What the decorator says; None where `version` is worked out."""

    def __init__(self, fn: Any, **options: Any) -> None:
        super().__init__(fn, **options)
        runner: Any = self.task_runner
        if isinstance(runner, type):
            vars(self)["task_runner"] = runner()
        names = [name.rpartition("/")[2] for name in self.blocks or ()]  # `type/name` as `Block.load` takes it
        vars(self)["blocks"] = tuple(names)
        vars(self)["declared_version"] = vars(self)["version"]
        if self.declared_version is None:
            del vars(self)["version"]  # so that it is worked out when somebody asks

    @staticmethod
    def _default_name(fn: Any) -> str:
        return Definition._default_name(fn).replace("_", "-")

    @cached_property
    def version(self) -> str | None:  # type: ignore[override] # worked out, where it was not said
        """What the decorator says; else a hash of the file that the function is in, None where there is none."""
        import inspect
        from hashlib import sha256
        from pathlib import Path

        try:
            file = inspect.getsourcefile(inspect.unwrap(self.fn))
            return None if file is None else sha256(Path(file).read_bytes()).hexdigest()[:32]
        except (OSError, TypeError):
            return None

    @cached_property
    def annotated(self) -> bool:
        """Whether any parameter has a type to validate against."""
        parameters = self.signature.inspected.parameters.values()
        return any(parameter.annotation is not parameter.empty for parameter in parameters)

    @property
    def parameter_schema(self) -> dict[str, Any]:
        """The JSON schema of the parameters, as it stands in the Flow's manifest."""
        from .parameter_schema import parameter_schema

        return parameter_schema(self.signature)

    @property
    def entrypoint(self) -> str:
        """`module:function`, where the flow can be imported from."""
        return f"{self.__module__}:{self.qualname}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the flow here and give its value (`return_state=True`: its state); an async flow is awaited."""
        if (drawing := DRAWING.get()) is not None:
            from .visualization import draw_subflow

            return draw_subflow(drawing, self, args, kwargs)  # type: ignore[no-any-return]
        return_state, wait_for = call_options(self, kwargs)
        return flow_runs.call(self, self.signature.bind(args, kwargs), return_state, wait_for)  # type: ignore[no-any-return]

    @staticmethod
    def from_source(source: Any, entrypoint: str) -> Flow[Any, Any]:
        """The flow `path/file.py:name` of a git repository, an archive or a folder; its runs get it from there, too.

        `source` is a URL, a path, or a `GitRepository`, `RemoteStorage` or `LocalStorage` of `penstock.runner.storage`.
        In async code it is awaited. Raises CodeUnavailable where it cannot be fetched, DefinitionError where there is
        no such flow in it.
        """
        from .dispatch import dispatch
        from .runner.storage import flow_from

        return dispatch(lambda: flow_from(source, entrypoint))

    def of(self, origin: Origin) -> Self:
        """The same flow, whose runs get their code from there."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), origin=origin)
        return other

    def visualize(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """The graph of the tasks that this call would run; no task runs. For an async flow, something to await."""
        from .visualization import visualize

        return visualize(self, args, kwargs)  # type: ignore[no-any-return]

    def with_options(self, **options: Any) -> Self:
        """The same function with other options; those not named stay as they are, a version worked out is so anew."""
        return super().with_options(**{"version": self.declared_version, **options})

    def to_deployment(
        self,
        name: str | None = None,
        *,
        work_pool_name: str | None = None,
        image: str | None = None,
        **options: Unpack[DeploymentOptions],
    ) -> RunnerDeployment:
        """A deployment of this flow, not applied yet: give it to `deploy`, or call its `apply()`.

        Options: `penstock.deployment_options`, those that Prefect has by its names (`parameters`, `cron`, `tags`), the
        others by those of FlowDeployment (`requirements`, `history_limits`).
        """
        from .runner_deployments import to_deployment

        return to_deployment(self, name, work_pool_name=work_pool_name, image=image, **options)

    def deploy(
        self,
        name: str | None = None,
        work_pool_name: str | None = None,
        image: str | None = None,
        *,
        build: bool = False,
        push: bool = False,
        print_next_steps: bool = True,
        namespace: str | None = None,
        force: bool = False,
        **options: Unpack[DeploymentOptions],
    ) -> str:
        """Write the flow and a deployment of it into the cluster, and give its name; in async code, awaited.

        The code of the flow's file is delivered, or that in the image with `from_image=True`. `options` are those of
        `to_deployment`. Raises ApplyRefused where the API server refuses it, or somebody else has set a field otherwise
        (`force` takes it over); nothing is changed then. Warns where the operator says that it is not ready.
        """
        from .dispatch import dispatch
        from .runner_deployments import deploy, to_deployment

        def applied() -> str:
            deployment = to_deployment(self, name, work_pool_name=work_pool_name, image=image, **options)
            (made,) = deploy(
                deployment,
                build=build,
                push=push,
                print_next_steps_message=print_next_steps,
                namespace=namespace,
                force=force,
            )
            return made

        return dispatch(applied)

    def serve(
        self,
        name: str | None = None,
        *,
        limit: int | None = None,
        global_limit: Any = None,
        pause_on_shutdown: bool = True,
        print_starting_message: bool = True,
        work_pool_name: str | None = None,
        **options: Unpack[DeploymentOptions],
    ) -> None:
        """Deploy the flow, and run on this machine what is started of it, `limit` runs at once (5), until Ctrl-C.

        `options` are those of `to_deployment`, such as `cron`; `global_limit` is its `concurrency_limit`. At the end
        the deployment is suspended, unless `pause_on_shutdown=False`.
        """
        from .serving import serve

        if global_limit is not None:
            options["concurrency_limit"] = global_limit
        serve(
            self.to_deployment(name, work_pool_name=work_pool_name, **options),
            limit=limit,
            pause_on_shutdown=pause_on_shutdown,
            print_starting_message=print_starting_message,
            work_pool_name=work_pool_name,
        )

    def on_cancellation(self, hook: Hook) -> Hook:
        """Decorates a hook `(flow, run, state)` to be called when a run is cancelled."""
        self.on_cancellation_hooks.append(hook)
        return hook

    def on_crashed(self, hook: Hook) -> Hook:
        """Decorates a hook `(flow, run, state)` to be called when a run Crashed in its own process."""
        self.on_crashed_hooks.append(hook)
        return hook


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(
    *,
    name: str | None = None,
    description: str | None = None,
    version: str | None = None,
    flow_run_name: str | Callable[..., str] | None = None,
    retries: int = 0,
    retry_delay_seconds: float | Sequence[float] | Callable[[int], Sequence[float]] | None = None,
    task_runner: TaskRunner | type[TaskRunner] | None = None,
    timeout_seconds: float | None = None,
    validate_parameters: bool = True,
    blocks: Sequence[str] = (),
    log_prints: bool | None = None,
    persist_result: bool | None = None,
    result_storage: ResultStore | str | PathLike[str] | None = None,
    result_serializer: Serializer | str | None = None,
    cache_result_in_memory: bool = True,
    on_running: Iterable[Hook] | None = None,
    on_completion: Iterable[Hook] | None = None,
    on_failure: Iterable[Hook] | None = None,
    on_cancellation: Iterable[Hook] | None = None,
    on_crashed: Iterable[Hook] | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(fn: Any = None, /, **options: Any) -> Any:
    """Declare a function as a flow: `@flow` or `@flow(retries=1)`."""
    if fn is not None:
        return Flow(fn, **options)
    Flow._refuse_unknown(options)  # where the mistake is, not where the function is

    def declare(function: Any) -> Flow[Any, Any]:
        return Flow(function, **options)

    return declare


flow.from_source = Flow.from_source  # type: ignore[attr-defined] # as Prefect has it: `flow.from_source(...)`
