"""What deployments and runs may change in the pods of a pool, each field by itself so that a pool can allow it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from . import labels
from .schema import Image, JsonObject, Model, Rule, StringMap, Word, exactly_one, own_keys_reserved


class SecretKeyRef(Model):
    """One key of a Secret of the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key in its data."""


class EnvVarSource(Model):
    """Where an environment variable comes from; the value itself never stands in the resource."""

    secret_key_ref: SecretKeyRef
    """A key of a Secret."""


class EnvVar(Model):
    """An environment variable of the flow's container."""

    rules = (
        exactly_one(("value", "valueFrom"), "env"),
        Rule(
            f"!(self.name in {list(labels.RESERVED)})",
            f"env.name: {', '.join(labels.RESERVED)} are set by the operator; settings may be set",
            ".name",
            message_expression="'env.name: ' + self.name + ' is set by the operator: take it out'",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=8192)] | None = None
    """Its value, in the clear; for secrets use valueFrom."""
    value_from: EnvVarSource | None = None
    """A reference instead of a value."""


Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$")]
ResourceList = Annotated[dict[str, Quantity], Field(max_length=16)]


class ResourceRequirements(Model):
    """CPU, memory and extended resources, as Kubernetes quantities."""

    requests: ResourceList | None = None
    """What the scheduler sets aside."""
    limits: ResourceList | None = None
    """What the container may not exceed."""


class Toleration(Model):
    """A toleration, as in a pod."""

    key: Annotated[str, Field(max_length=316)] | None = None
    """Key of the taint; all keys when unset."""
    operator: Literal["Exists", "Equal"] | None = None
    """How the value is compared; Equal by default."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all when unset."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long NoExecute is tolerated."""


Override = Literal[
    "image",
    "imagePullPolicy",
    "resources",
    "env",
    "labels",
    "annotations",
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClassName",
    "runtimeClassName",
]
DEFAULT_ALLOWED: tuple[Override, ...] = ("image", "imagePullPolicy", "resources", "env", "labels", "annotations")


class PodOverrides(Model):
    """Changes to the pool's pod template; merged pool, deployment, run, the later winning (env and maps by key)."""

    rules = tuple(own_keys_reserved(field) for field in ("labels", "annotations"))

    image: Image | None = None
    """Image of the flow's container."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled."""
    resources: ResourceRequirements | None = None
    """CPU, memory and other resources of the flow's container."""
    env: Annotated[list[EnvVar], Field(max_length=128)] | None = None
    """Environment of the flow's container."""
    labels: StringMap | None = None
    """Labels of the pod; keys of penstock.dev are reserved."""
    annotations: StringMap | None = None
    """Annotations of the pod; keys of penstock.dev are reserved."""
    node_selector: StringMap | None = None
    """Labels a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
    """Taints that are tolerated."""
    affinity: JsonObject | None = None
    """Affinity, as in a pod; checked by the API server when the pod is created."""
    priority_class_name: Word | None = None
    """PriorityClass of the pod."""
    runtime_class_name: Word | None = None
    """RuntimeClass of the pod."""
