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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundling import bundled
from .errors import ConfigurationError, ParameterError, UnsupportedHere
from .job_variables import pod_overrides
from .manifests import CannotBeDeployed, Manifest, Options, deployment_manifest, flow_manifest
from .settings import get_current_settings

if TYPE_CHECKING:
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
    description: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    concurrency: Mapping[str, Any] | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    priority: int | None = None
    image: str | None = None
    from_image: bool = False
    job_variables: Mapping[str, Any] = field(default_factory=dict)

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
            "schedules": list(self.schedules) or None,
            "description": self.description,
            "version": self.version,
            "concurrency": dict(self.concurrency) if self.concurrency else None,
            "priority": self.priority,
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
    interval: Any = None,
    cron: str | Iterable[str] | None = None,
    rrule: str | Iterable[str] | None = None,
    schedule: Any = None,
    schedules: Iterable[Any] | None = None,
    paused: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
    description: str | None = None,
    tags: Iterable[str] | None = None,
    version: str | None = None,
    concurrency_limit: int | Mapping[str, Any] | None = None,
    work_pool_name: str | None = None,
    work_queue_name: str | None = None,
    job_variables: Mapping[str, Any] | None = None,
    image: str | None = None,
    from_image: bool = False,
    priority: int | None = None,
) -> RunnerDeployment:
    """`Flow.to_deployment`."""
    return RunnerDeployment(
        name=name or flow.name,
        flow=flow,
        parameters=dict(parameters or {}),
        schedules=schedules_of(interval, cron, rrule, [*(schedules or ()), *([schedule] if schedule else ())]),
        paused=paused,
        description=description,
        version=version,
        tags=tuple(dict.fromkeys(tags or ())),
        concurrency=concurrency_of(concurrency_limit),
        work_pool_name=work_pool_name,
        work_queue_name=work_queue_name,
        priority=priority,
        image=image,
        from_image=from_image,
        job_variables=pod_overrides(job_variables),
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


def schedules_of(interval: Any, cron: Any, rrule: Any, schedules: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """Entries of `spec.schedules`. Raises ConfigurationError where two have one slug."""
    found: list[dict[str, Any]] = [
        *({"interval": {"seconds": _seconds(each)}} for each in _several(interval)),
        *({"cron": {"expression": each}} for each in _several(cron)),
        *({"rrule": {"rule": each}} for each in _several(rrule)),
    ]
    for number, each in enumerate(found):
        form = next(iter(each))
        same = sum(form in other for other in found[:number])
        each["slug"] = form if not same else f"{form}-{same + 1}"
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
