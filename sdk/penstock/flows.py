"""`@flow`: records a function and its options. Running one is `penstock.engine.flow_runs`'."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from .definitions import Definition, P, R, call_options
from .engine import flow_runs
from .exceptions import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .definitions import Hook
    from .task_runners import TaskRunner

__all__ = ["Flow", "flow"]


@dataclass(frozen=True, eq=False, repr=False)
class Flow(Definition[P, R]):
    """A function whose calls are runs, here or on Kubernetes."""

    flow_run_name: str | Callable[..., str] | None = field(default=None, kw_only=True)
    task_runner: TaskRunner | None = field(default=None, kw_only=True)
    validate_parameters: bool = field(default=True, kw_only=True)
    on_cancellation_hooks: list[Hook] = field(default_factory=list, kw_only=True)
    on_crashed_hooks: list[Hook] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.task_runner, type):
            vars(self)["task_runner"] = self.task_runner()
        elif self.task_runner is not None and not hasattr(self.task_runner, "duplicate"):
            raise DefinitionError(f"flow {self.name!r}: task_runner must be a TaskRunner, not {self.task_runner!r}")

    @staticmethod
    def _default_name(fn: Any) -> str:
        return Definition._default_name(fn).replace("_", "-")

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
        return_state, wait_for = call_options(kwargs)
        return flow_runs.call(self, self.signature.bind(args, kwargs), return_state, wait_for)  # type: ignore[no-any-return]

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
    log_prints: bool | None = None,
    on_running: Iterable[Hook] | None = None,
    on_completion: Iterable[Hook] | None = None,
    on_failure: Iterable[Hook] | None = None,
    on_cancellation: Iterable[Hook] | None = None,
    on_crashed: Iterable[Hook] | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(fn: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Declare a function as a flow: `@flow` or `@flow(retries=1)`."""
    for hooks in ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed"):
        if hooks in options:
            options[f"{hooks}_hooks"] = list(options.pop(hooks) or ())

    def declare(function: Any) -> Flow[Any, Any]:
        return Flow(function, name=name or "", **options)

    return declare if fn is None else declare(fn)
