"""From a flow object to its Flow and FlowDeployment manifests. Pure: nothing is read, written or sent.

Called by `penstock build` and `penstock deploy`; whatever comes out is what `kubectl apply` takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .api import names
from .api.flow import MAX_SOURCE, Code, Flow, FlowSpec, ImageCode, LoggingDefaults, ResultDefaults, SourceCode
from .api.flowdeployment import FlowDeployment, FlowDeploymentSpec
from .api.schema import ObjectMeta, ObjectReference
from .exceptions import DefinitionError
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


def flow_manifest(flow: FlowDefinition[Any, Any], module: str, source: str, options: Options) -> Manifest:
    """The Flow, its code inline (`source`, the text of its file) or in the image (`options.from_image`).

    Raises `CannotBeDeployed` for a name that Kubernetes cannot have and for source that is too long.
    """
    name = _name(options.flow_name or flow.name, "flow")
    if options.from_image:
        code = Code(image=ImageCode(image=options.image) if options.image else ImageCode())
    else:
        if len(source) > MAX_SOURCE:
            raise CannotBeDeployed(
                f"flow {name}: its file has {len(source)} characters, and inline source at most {MAX_SOURCE}. "
                "Put the code into an image and deploy with --from-image."
            )
        code = Code(source=SourceCode(text=source))
    delay = flow.retry_delay_seconds
    given: dict[str, Any] = {
        "description": flow.description,
        "version": flow.version,
        "parameters": flow.parameter_schema,
        "blocks": list(dict.fromkeys(flow.blocks)) or None,
        "retries": flow.retries or None,
        "retry_delay_seconds": math.ceil(delay) if isinstance(delay, int | float) and delay else None,
        "timeout_seconds": math.ceil(flow.timeout_seconds) if flow.timeout_seconds else None,
        "results": ResultDefaults(**said) if (said := described(flow)) else None,
        "logging": LoggingDefaults(log_prints=flow.log_prints) if flow.log_prints is not None else None,
    }
    spec = FlowSpec(
        code=code,
        entrypoint=f"{module}:{flow.entrypoint.partition(':')[2]}",
        **{key: value for key, value in given.items() if value is not None},
    )
    return Flow(metadata=ObjectMeta(name=name), spec=spec).to_dict()


def deployment_manifest(flow: FlowDefinition[Any, Any], options: Options) -> Manifest:
    """The FlowDeployment. Raises `CannotBeDeployed` for a bad name and for parameters the flow does not have."""
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
    if options.image and not options.from_image:
        from .api.pods import PodOverrides

        given["pod"] = PodOverrides(image=options.image)
    spec = FlowDeploymentSpec(
        flow_ref=ObjectReference(name=_name(options.flow_name or flow.name, "flow")),
        **{key: value for key, value in given.items() if value is not None},
    )
    return FlowDeployment(metadata=ObjectMeta(name=name), spec=spec).to_dict()


def _name(text: str, what: str, limit: int = 253) -> str:
    found = names.dns_label(text, limit)
    if not found:
        raise CannotBeDeployed(f"{what} name {text!r}: it needs a letter or a digit; choose another with --name")
    return found
