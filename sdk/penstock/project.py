"""`penstock.yaml`: the pools, queues and deployments of a project. Read by the command line; sends nothing.

Field names are those of the resources. What is wrong is told by file, path and remedy; an unknown field is refused, for
a misspelt one must not pass.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic.alias_generators import to_camel

from .api import labels
from .api.flow import Code
from .api.flowdeployment import FlowDeploymentSpec
from .api.schema import Label, Model, ObjectName, Word
from .api.workpool import WorkPoolSpec
from .api.workqueue import WorkQueueSpec
from .errors import PenstockError

FILE = "penstock.yaml"
MAX_BYTES = 4 * 1024 * 1024
MAX_TOLD = 8


class BadProject(PenstockError):
    """The file cannot be used; the message names file, path and remedy."""

    reason = "BadProject"


class Deployment(FlowDeploymentSpec):
    """One deployment: where its flow is, and what a FlowDeployment says."""

    entrypoint: Annotated[str, Field(min_length=4, max_length=1024, pattern=r"^[^:]+\.py(:\w+)?$")]
    """`FILE.py:FLOW`, from the folder of penstock.yaml; the name may be left out where the file has one flow."""
    name: Label | None = None
    """Name of the FlowDeployment; that of the flow when unset."""
    flow_name: ObjectName | None = None
    """Name of the Flow; that of the flow when unset."""
    from_image: bool = False
    """The code is in the image: no source is delivered."""
    bundle: bool = False
    """The flow is delivered with the local modules it imports; the bundle is made when it is built or deployed."""
    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Image of its runs; that of the pool when unset."""
    code: Code | None = None
    """Where the code comes from; the source of the file when unset."""
    flow_ref: None = None  # type: ignore[assignment] # it follows from the entrypoint


class Pool(WorkPoolSpec):
    """A WorkPool by name."""

    name: Label
    """Name of the WorkPool."""


class Queue(WorkQueueSpec):
    """A WorkQueue by name."""

    name: Label
    """Name of the WorkQueue."""
    work_pool: Label
    """The pool it belongs to."""
    work_pool_ref: None = None  # type: ignore[assignment] # said by workPool


class Project(Model):
    """The whole file."""

    name: Word | None = None
    """Name of the project, for people."""
    pools: list[Pool] = []
    """Work pools that it needs."""
    queues: list[Queue] = []
    """Work queues that it needs."""
    deployments: list[Deployment] = []
    """What is deployed."""


@dataclass(frozen=True, slots=True)
class Read:
    """A project and where it is."""

    path: Path
    project: Project

    def target(self, deployment: Deployment) -> str:
        """The file and flow of a deployment, from the working directory."""
        file, _, flow = deployment.entrypoint.partition(":")
        return f"{self.path.parent / file}" + (f":{flow}" if flow else "")

    def chosen(
        self, names: tuple[str, ...], every: bool, final: Callable[[Deployment], str] | None = None
    ) -> list[Deployment]:
        """The deployments of these names, or all. Raises BadProject where that is not clear.

        `final` gives the name of the FlowDeployment, where only the flow's code says it; asked of a name that the file
        does not hold.
        """
        found = self.project.deployments
        known = [_called(deployment) for deployment in found]
        if not known:
            raise BadProject(f"{self.path}: it has no deployments: add one under `deployments`")
        if not names and not every and len(known) > 1:
            raise BadProject(f"{self.path} has several deployments ({', '.join(known)}): give --all, or --name NAME")
        last = known if final is None or set(names) <= set(known) else [final(deployment) for deployment in found]
        both = [name if name == end else f"{name} ({end})" for name, end in zip(known, last, strict=True)]
        for name in names:
            if name not in known and name not in last:
                raise BadProject(f"{self.path}: it has no deployment {name}; it has {', '.join(both)}")
        return [
            each
            for each, name, end in zip(found, known, last, strict=True)
            if not names or name in names or end in names
        ]


def manifests_of(project: Project) -> list[dict[str, Any]]:
    """The WorkPools and WorkQueues."""
    found = []
    for pool in project.pools:
        found.append(_manifest("WorkPool", pool.name, pool, "name"))
    for queue in project.queues:
        body = _manifest("WorkQueue", queue.name, queue, "name", "workPool")
        body["spec"]["workPoolRef"] = {"name": queue.work_pool}
        found.append(body)
    return found


def fields_of(deployment: Deployment) -> dict[str, Any]:
    """The fields of its FlowDeployment's spec, as they stand in a manifest."""
    own = {to_camel(name) for name in set(Deployment.model_fields) - set(FlowDeploymentSpec.model_fields)}
    return {key: value for key, value in deployment.to_dict().items() if key not in own | {"flowRef"}}


def _manifest(kind: str, name: str, spec: Model, *without: str) -> dict[str, Any]:
    fields = {key: value for key, value in spec.to_dict().items() if key not in without}
    return {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": fields}


def _called(deployment: Deployment) -> str:
    """How a deployment is chosen: by its name, else by its flow's."""
    return deployment.name or deployment.entrypoint.partition(":")[2] or Path(deployment.entrypoint).stem


def read(path: Path) -> Read:
    """The project in a file. Raises BadProject."""
    try:
        text = path.read_bytes()
    except OSError as error:
        remedy = "write one with `penstock init`" if isinstance(error, FileNotFoundError) else ""
        raise BadProject(f"{path} cannot be read: {error.strerror}{remedy and '; ' + remedy}") from error
    if len(text) > MAX_BYTES:
        raise BadProject(f"{path} has {len(text)} bytes, and may have {MAX_BYTES}: split the project")
    try:
        held = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise BadProject(f"{where}: it is no YAML: {getattr(error, 'problem', None) or error}") from error
    return Read(path, parse(held, str(path)))


def parse(held: Any, path: str) -> Project:
    """The project in what a file holds. Raises BadProject."""
    if not isinstance(held, dict):
        raise BadProject(f"{path}: it is a mapping with `deployments`, such as `penstock init` writes")
    held = _lengthened({key: value for key, value in held.items() if not str(key).startswith("x-")})
    wrong = [*_unknown(Project, held, ""), *_unmade(held)]
    if not wrong:
        try:
            project = Project.model_validate(held)
        except ValidationError as error:
            wrong = [f"{_path(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False)]
        else:
            wrong = [*_twice(project), *_several_ways(project)]
            if not wrong:
                return project
    more = f"; and {len(wrong) - MAX_TOLD} more" if len(wrong) > MAX_TOLD else ""
    raise BadProject(f"{path}: {'; '.join(wrong[:MAX_TOLD])}{more}")


def _lengthened(held: dict[str, Any]) -> dict[str, Any]:
    """Short forms of schedules: `cron: "0 6 * * *"`, `interval: 3600`, `rrule: FREQ=DAILY`."""
    shorts = {"cron": ("expression", str), "interval": ("seconds", int), "rrule": ("rule", str)}

    def schedule(given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            key: {shorts[key][0]: value} if key in shorts and type(value) is shorts[key][1] else value
            for key, value in given.items()
        }

    def deployment(given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("schedules"), list):
            return given
        return {**given, "schedules": [schedule(each) for each in given["schedules"]]}

    if not isinstance(held.get("deployments"), list):
        return held
    return {**held, "deployments": [deployment(each) for each in held["deployments"]]}


def _unknown(type_: Any, value: Any, path: str) -> Iterator[str]:
    """Fields that the models do not have, wherever they stand."""
    origin = get_origin(type_)
    if origin is Annotated:
        yield from _unknown(get_args(type_)[0], value, path)
    elif origin in (Union, types.UnionType):
        for inner in get_args(type_):
            yield from _unknown(inner, value, path)
    elif origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(get_args(type_)[0], item, f"{path.removesuffix('.')}[{number}].")
    elif isinstance(type_, type) and issubclass(type_, BaseModel) and isinstance(value, Mapping):
        fields = {field.alias or to_camel(name): field for name, field in type_.model_fields.items()}
        known = {key: field.annotation for key, field in fields.items() if field.annotation is not type(None)}
        for key, item in value.items():
            if key in known:
                yield from _unknown(known[key], item, f"{path}{key}.")
            else:
                yield f"{path}{key}: there is no such field; {_instead(str(key), set(known))}"


def _unmade(held: dict[str, Any]) -> Iterator[str]:
    """Bundles that are to be made here, where only one that is there already can be said."""
    deployments = held.get("deployments")
    for number, deployment in enumerate(deployments if isinstance(deployments, list) else ()):
        code = deployment.get("code") if isinstance(deployment, dict) else None
        bundle = code.get("bundle") if isinstance(code, dict) else None
        if bundle is True or (isinstance(bundle, dict) and not {"data", "url"} & bundle.keys()):
            yield f"deployments[{number}].code.bundle: one that is made here is `bundle: true`, without `code`"


def _several_ways(project: Project) -> Iterator[str]:
    for number, each in enumerate(project.deployments):
        ways = [*(["fromImage"] if each.from_image else []), *(["bundle"] if each.bundle else [])]
        ways += ["code"] if each.code else []
        if len(ways) > 1:
            yield f"deployments[{number}]: {' and '.join(ways)}: code reaches a run in one way; leave all but one out"


def _instead(word: str, known: set[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{to_camel(part)}" for part in location)
    return text.lstrip(".") or "the file"


def _twice(project: Project) -> Iterator[str]:
    """Names that are given to two of a kind, and schedules of one slug."""
    for what, names in (
        ("deployments", [_called(each) for each in project.deployments]),
        ("pools", [each.name for each in project.pools]),
        ("queues", [each.name for each in project.queues]),
    ):
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{what}: two are named {name}: give one of them another name"
    for number, deployment in enumerate(project.deployments):
        slugs = [schedule.slug for schedule in deployment.schedules or ()]
        for slug in sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            yield f"deployments[{number}].schedules: two have the slug {slug}: give one of them another"
