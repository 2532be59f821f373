"""From a flow object to its Flow and FlowDeployment manifests. Pure: nothing is read, written or sent.

Called by `penstock build` and `deploy`, and by `RunnerDeployment`; whatever comes out is what `kubectl apply` takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel, to_snake

from .api import names
from .api.flow import MAX_SOURCE, Code, Flow, FlowSpec, ImageCode, LoggingDefaults, ResultDefaults, SourceCode
from .api.flowdeployment import FlowDeployment, FlowDeploymentSpec
from .api.schema import ObjectMeta, ObjectReference
from .errors import DefinitionError
from .results.options import described

if TYPE_CHECKING:
    from .flows import Flow as FlowDefinition

Manifest = dict[str, Any]


class CannotBeDeployed(DefinitionError):
    """A flow gives no manifest; the message says what to change."""

    reason = "CannotBeDeployed"


@dataclass(frozen=True, slots=True)
class Options:
    """What a deployment adds to a flow; None leaves a field to the cluster's defaults."""

    flow_name: str | None = None
    deployment_name: str | None = None
    work_pool: str | None = None
    queue: str | None = None
    image: str | None = None
    from_image: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    suspend: bool | None = None
    code: Code | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the deployment's spec, as they stand in a manifest."""
    requirements: Sequence[str] = ()


def flow_manifest(flow: FlowDefinition[Any, Any], entrypoint: str, source: str, options: Options) -> Manifest:
    """The Flow, found at `entrypoint` (`module:name`) in its code, inline (`source`, the text of its file) or in the
    image (`options.from_image`).

    Raises `CannotBeDeployed` for a name that Kubernetes cannot have and for source that is too long.
    """
    name = _name(options.flow_name or flow.name, "flow")
    delay = flow.retry_delay_seconds
    given: dict[str, Any] = {
        "description": flow.description,
        "version": flow.declared_version,
        "parameters": flow.parameter_schema,
        "blocks": list(dict.fromkeys(flow.blocks)) or None,
        "requirements": list(options.requirements) or None,
        "retries": flow.retries or None,
        "retry_delay_seconds": math.ceil(delay) if isinstance(delay, int | float) and delay else None,
        "timeout_seconds": math.ceil(flow.timeout_seconds) if flow.timeout_seconds else None,
        "results": ResultDefaults(**said) if (said := described(flow)) else None,
        "logging": LoggingDefaults(log_prints=flow.log_prints) if flow.log_prints is not None else None,
    }
    if flow.origin is not None and options.code is None and not options.from_image:
        code, entrypoint = flow.origin
    else:
        code = _code(name, source, options)
    with told("flow", name):
        spec = FlowSpec(
            code=code,
            entrypoint=entrypoint,
            **{key: value for key, value in given.items() if value is not None},
        )
    return Flow(metadata=ObjectMeta(name=name), spec=spec).to_dict()


def _code(name: str, source: str, options: Options) -> Code:
    if options.code is not None:
        return options.code
    if options.from_image:
        return Code(image=ImageCode(image=options.image) if options.image else ImageCode())
    if len(source) > MAX_SOURCE:
        raise CannotBeDeployed(
            f"flow {name}: its file has {len(source)} characters, and inline source at most {MAX_SOURCE}. "
            "Put the code into an image and deploy with --from-image."
        )
    return Code(source=SourceCode(text=source))


def deployment_manifest(flow: FlowDefinition[Any, Any], options: Options) -> Manifest:
    """The FlowDeployment.

    Raises `CannotBeDeployed` for a bad name, for parameters the flow does not have, and for schedules that cannot be
    read, never fire, or have parameters that do not fit the flow, and for a limit of 0.
    """
    name = _name(options.deployment_name or options.flow_name or flow.name, "deployment", 63)
    known = flow.parameter_schema.get("properties", {})
    unknown = sorted(set(options.parameters) - set(known))
    if unknown and flow.parameter_schema.get("additionalProperties") is False:
        raise CannotBeDeployed(
            f"flow {flow.name} has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )
    given: dict[str, Any] = {
        "work_pool": options.work_pool,
        "queue": options.queue,
        "parameters": dict(options.parameters) or None,
        "tags": list(options.tags) or None,
        "suspend": options.suspend,
    }
    with told("deployment", name):
        fields = {to_snake(key): value for key, value in options.fields.items()}
        if options.image and not options.from_image:
            fields["pod"] = {"image": options.image, **(fields.get("pod") or {})}
        fields |= {key: value for key, value in given.items() if value is not None}
        spec = FlowDeploymentSpec(
            flow_ref=ObjectReference(name=_name(options.flow_name or flow.name, "flow")), **fields
        )
    made = FlowDeployment(metadata=ObjectMeta(name=name), spec=spec).to_dict()
    if wrong := _wrong(flow, options, made["spec"]):
        raise CannotBeDeployed(f"deployment {name}: {'; '.join(wrong)}")
    return made


def _wrong(flow: FlowDefinition[Any, Any], options: Options, spec: Mapping[str, Any]) -> list[str]:
    """What makes no runs, or runs that fail, as the operator tells it of a deployment that is there."""
    wrong, schedules = [], spec.get("schedules")
    if (spec.get("concurrency") or {}).get("limit") == 0:
        wrong = ["concurrency.limit: 0 lets no run start; say at least 1, or leave it out and suspend the deployment"]
    if schedules:
        from .schedules.parameters import misfits
        from .schedules.slots import problems

        wrong += problems(schedules) or misfits(flow.parameter_schema, options.parameters, schedules, partial=True)
    return wrong


@contextmanager
def told(what: str, name: str) -> Iterator[None]:
    """Say of a value that the API refuses which field it is of."""
    try:
        yield
    except ValidationError as error:
        wrong = [
            f"{'.'.join(to_camel(str(part)) for part in problem['loc'])}: {problem['msg']} (got {_shown(problem)})"
            for problem in error.errors(include_url=False)
        ]
        raise CannotBeDeployed(f"{what} {name}: {'; '.join(wrong)}") from error


def _shown(problem: Mapping[str, Any]) -> str:
    text = repr(problem["input"])
    return text if len(text) <= 80 else f"{text[:77]}..."


def _name(text: str, what: str, limit: int = 253) -> str:
    found = names.dns_label(text, limit)
    if not found:
        option = "--deployment-name" if what == "deployment" else "--name"
        raise CannotBeDeployed(f"{what} name {text!r}: it needs a letter or a digit; choose another with {option}")
    return found
