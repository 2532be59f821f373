"""`RunnerDeployment`: what `flow.to_deployment` gives, and `flow.deploy` and `deploy` apply.

The SDK's way to what `penstock deploy` does with a file: the manifests are `manifests`', their way into the cluster is
`applying`'s.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .api.flowdeployment import HistoryLimits, InfraRetries
from .api.schema import Model
from .bundling import bundled
from .deployment_options import DeploymentOptions, Fields
from .errors import ConfigurationError, ParameterError, UnsupportedHere
from .job_variables import pod_overrides
from .manifests import CannotBeDeployed, Manifest, Options, deployment_manifest, flow_manifest
from .settings import get_current_settings

if TYPE_CHECKING:
    from typing import Unpack

    from .flows import Flow
    from .readiness import Readiness

# Prefect's word for what becomes of a run beyond the limit -> `concurrency.policy`
POLICIES = {"ENQUEUE": "Queue", "CANCEL_NEW": "Forbid", "Queue": "Queue", "Forbid": "Forbid", "Replace": "Replace"}


@dataclass(frozen=True, slots=True)
class RunnerDeployment:
    """A deployment of a flow that is not applied yet; see `Flow.to_deployment` for its fields."""

    name: str
    flow: Flow[Any, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schedules: tuple[dict[str, Any], ...] = ()
    paused: bool | None = None
    tags: tuple[str, ...] = ()
    concurrency: Mapping[str, Any] | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    image: str | None = None
    from_image: bool = False
    job_variables: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else `deployment_options.Fields` has, such as description and version."""

    @property
    def flow_name(self) -> str:
        """Name of the flow."""
        return self.flow.name

    def manifests(self) -> list[Manifest]:
        """The Flow and the FlowDeployment. Raises `CannotBeDeployed` and `ParameterError`; needs no cluster."""
        entrypoint, source, code = "", "", None
        if not self.from_image and self.flow.origin is None:
            try:
                entrypoint, source = source_of(self.flow)
            except InNoFile:
                code = bundled(self.flow)
        fields: dict[str, Any] = {
            **self.fields,
            "schedules": list(self.schedules) or None,
            "concurrency": dict(self.concurrency) if self.concurrency else None,
            "pod": dict(self.job_variables) or None,
        }
        options = Options(
            deployment_name=self.name,
            work_pool=self.work_pool_name or get_current_settings().deploy_work_pool,
            queue=self.work_queue_name,
            image=self.image or get_current_settings().deploy_image,
            from_image=self.from_image,
            parameters=_checked(self.flow, self.parameters),
            tags=self.tags,
            suspend=self.paused,
            code=code,
            fields={name: value for name, value in fields.items() if value is not None},
        )
        entrypoint = entrypoint or self.flow.entrypoint
        return [flow_manifest(self.flow, entrypoint, source, options), deployment_manifest(self.flow, options)]

    def apply(
        self,
        work_pool_name: str | None = None,
        image: str | None = None,
        *,
        namespace: str | None = None,
        force: bool = False,
    ) -> str:
        """Write it into the cluster, and give the name of its FlowDeployment. Raises `ApplyRefused`.

        Warns where the operator says that it is not ready.
        """
        changed = replace(self, work_pool_name=work_pool_name or self.work_pool_name, image=image or self.image)
        return _applied(changed.manifests(), namespace, force)[-1].name


def to_deployment(
    flow: Flow[Any, Any],
    name: str | None = None,
    *,
    work_pool_name: str | None = None,
    image: str | None = None,
    **options: Unpack[DeploymentOptions],
) -> RunnerDeployment:
    """`Flow.to_deployment`."""
    unknown = sorted(options.keys() - DeploymentOptions.__annotations__.keys())
    if unknown:
        close = get_close_matches(unknown[0], DeploymentOptions.__annotations__, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise TypeError(f"a deployment has no option {unknown[0]}{hint}")
    schedule = options.get("schedule")
    schedules = schedules_of(
        options.get("interval"),
        options.get("cron"),
        options.get("rrule"),
        [*(options.get("schedules") or ()), *([schedule] if schedule else ())],
        options.get("max_runs"),
    )
    return RunnerDeployment(
        name=name or flow.name,
        flow=flow,
        parameters=dict(options.get("parameters") or {}),
        schedules=schedules,
        paused=options.get("paused"),
        tags=tuple(dict.fromkeys(options.get("tags") or ())),
        concurrency=concurrency_of(options.get("concurrency_limit")),
        work_pool_name=work_pool_name,
        work_queue_name=options.get("work_queue_name"),
        image=image,
        from_image=options.get("from_image", False),
        job_variables=pod_overrides(options.get("job_variables")),
        fields={key: _known(key, value) for key, value in options.items() if key in Fields.__annotations__},
    )


def deploy(
    *deployments: RunnerDeployment,
    work_pool_name: str | None = None,
    image: str | None = None,
    build: bool = False,
    push: bool = False,
    print_next_steps_message: bool = True,
    namespace: str | None = None,
    force: bool = False,
) -> list[str]:
    """Write several deployments into the cluster, all or none, and give the names of their FlowDeployments.

    `work_pool_name` and `image` are for those that name none. A field that somebody else has set otherwise is
    refused (`ApplyRefused`) unless `force` takes it over. Warns of each that the operator says is not ready.
    """
    if build or push:
        raise UnsupportedHere(
            "deploy builds no images: build yours with your own tool and give it as image=..., with from_image=True "
            "where the code is in it; without, the code of the flow's file is delivered"
        )
    if not deployments:
        raise ConfigurationError("deploy: give it at least one deployment, such as my_flow.to_deployment('nightly')")
    for each in deployments:
        if not isinstance(each, RunnerDeployment):
            raise ConfigurationError(f"deploy wants deployments such as my_flow.to_deployment('nightly'), not {each!r}")
    wanted: dict[tuple[str, str], Manifest] = {}
    for each in deployments:
        whole = replace(each, work_pool_name=each.work_pool_name or work_pool_name, image=each.image or image)
        for manifest in whole.manifests():
            key = (manifest["kind"], manifest["metadata"]["name"])
            if wanted.setdefault(key, manifest) != manifest:
                raise CannotBeDeployed(
                    f"two different {key[0]}s would be named {key[1]}: give one of them another name"
                )
    found = _applied(list(wanted.values()), namespace, force)
    if print_next_steps_message:
        for word in found:
            print(f"Deployed {word.name}. Start it with: penstock run {word.name} --watch")
            if word.ready is None:
                print(word)
    return [word.name for word in found]


def _applied(manifests: Sequence[Manifest], namespace: str | None, force: bool) -> list[Readiness]:
    from .applying import apply_all
    from .cluster_runs import connect
    from .readiness import await_readiness

    ordered = sorted(manifests, key=lambda manifest: manifest["kind"] == "FlowDeployment")
    with connect(namespace) as client:
        found = await_readiness(client, apply_all(client, ordered, force=force))
    for each in found:
        if each.ready is False:
            warnings.warn(str(each), stacklevel=3)
    return found


def _checked(flow: Flow[Any, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as JSON, which fit the flow as far as they go. Raises ParameterError by name."""
    from .deployments import jsonable
    from .json_inputs import problems

    given = jsonable(parameters)
    wrong = problems(flow.parameter_schema, given, partial=True)
    if wrong:
        raise ParameterError(f"deployment of flow {flow.name}: {'; '.join(map(str, wrong))}")
    return given


class InNoFile(CannotBeDeployed):
    """The flow was defined in a notebook or a REPL."""


def source_of(flow: Flow[Any, Any]) -> tuple[str, str]:
    """Entrypoint and text of the file that the flow is in.

    Raises InNoFile where there is none, and CannotBeDeployed for a flow that its module does not hold.
    """
    fn = inspect.unwrap(flow.fn)
    try:
        file = inspect.getsourcefile(fn)
        source = None if file is None else Path(file).read_text(encoding="utf-8")
    except (OSError, TypeError, UnicodeDecodeError):
        file, source = None, None
    if file is None or source is None or not file.endswith(".py"):
        raise InNoFile(
            f"flow {flow.name}: its code is in no file, as in a notebook or a REPL: put it into one, or into an image "
            "and deploy with from_image=True"
        )
    module = sys.modules.get(flow.__module__)
    held = [name for name, value in vars(module).items() if value is flow] if module else []
    name = held[0] if held else flow.qualname
    if not re.fullmatch(r"\w+", name):
        raise CannotBeDeployed(f"flow {flow.name}: {name} is inside of a function or class; declare it in its module")
    stem = re.sub(r"\W", "_", Path(file).stem)
    return f"{'_' if stem[0].isdigit() else ''}{stem}:{name}", source


def _known(name: str, value: Any) -> Any:
    """The value of an option. Raises ConfigurationError for a mapping with keys that its model has not."""
    models: dict[str, type[Model]] = {"infra_retries": InfraRetries, "history_limits": HistoryLimits}
    model = models.get(name)
    if model is not None and isinstance(value, Mapping):
        unknown = sorted(value.keys() - model.model_fields.keys())
        if unknown:
            raise ConfigurationError(f"{name}: there is no {unknown[0]}; there are {', '.join(model.model_fields)}")
    return value


def concurrency_of(limit: int | Mapping[str, Any] | Any) -> dict[str, Any] | None:
    """`spec.concurrency` of a number, or of `{"limit": 1, "collision_strategy": "CANCEL_NEW"}`."""
    if limit is None:
        return None
    if isinstance(limit, int) and not isinstance(limit, bool):
        return {"limit": limit}
    held = limit if isinstance(limit, Mapping) else vars(limit) if hasattr(limit, "__dict__") else {}
    number, word = held.get("limit"), held.get("collision_strategy", held.get("policy", "ENQUEUE"))
    word = str(getattr(word, "value", word))
    if not isinstance(number, int) or word not in POLICIES:
        raise ConfigurationError(
            "concurrency_limit: a number, or a mapping with limit and collision_strategy "
            f"({', '.join(POLICIES)}), not {limit!r}"
        )
    return {"limit": number, "policy": POLICIES[word]}


def schedules_of(
    interval: Any, cron: Any, rrule: Any, schedules: Iterable[Any], max_runs: int | None = None
) -> tuple[dict[str, Any], ...]:
    """Entries of `spec.schedules`, those of a form ending after `max_runs`.

    Raises ConfigurationError where two have one slug, and where nothing is there to end.
    """
    found: list[dict[str, Any]] = [
        *({"interval": {"seconds": _seconds(each)}} for each in _several(interval)),
        *({"cron": {"expression": each}} for each in _several(cron)),
        *({"rrule": {"rule": each}} for each in _several(rrule)),
    ]
    for number, each in enumerate(found):
        form = next(iter(each))
        same = sum(form in other for other in found[:number])
        each["slug"] = form if not same else f"{form}-{same + 1}"
        if max_runs is not None:
            each["maxRuns"] = max_runs
    if max_runs is not None and not found:
        raise ConfigurationError(
            "max_runs is for cron, interval and rrule; say it in a schedule: Cron(..., max_runs=3)"
        )
    for given in schedules:
        if hasattr(given, "manifest"):
            given = given.manifest()
        elif hasattr(given, "to_dict"):
            given = given.to_dict()
        if not isinstance(given, Mapping) or "slug" not in given:
            raise ConfigurationError(
                f"schedules: {given!r} is none: use penstock.schedules, such as Cron('0 6 * * *', slug='morning')"
            )
        found.append(dict(given))
    slugs = [each["slug"] for each in found]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice:
        raise ConfigurationError(f"schedules: two have the slug {twice[0]}: give one of them another")
    return tuple(found)


def _several(given: Any) -> list[Any]:
    if given is None:
        return []
    return [given] if isinstance(given, str | int | float | timedelta) else list(given)


def _seconds(interval: Any) -> int:
    seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 1 or seconds != int(seconds):
        raise ConfigurationError(f"interval: a timedelta or whole seconds, at least 1, not {interval!r}")
    return int(seconds)
