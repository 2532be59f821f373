"""What a run was resolved to: its flow, deployment, pool and code, as they were when it was accepted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .flow import SHA256, ResultDefaults
from .schema import Count, Digest, Entrypoint, Image, Model, ObjectName, ObjectReference, Uid, Url


class ResolvedReference(Model):
    """An object as it was when the run was resolved."""

    name: ObjectName
    """Its name."""
    uid: Uid
    """Its uid."""
    generation: Count
    """Its generation."""
    revision: Annotated[str, Field(max_length=253)] | None = None
    """ControllerRevision that keeps this generation."""


class ResolvedCode(Model):
    """The code of the run: by content where the cluster holds it, else where it is fetched from."""

    kind: Literal["image", "source", "bundle", "git", "archive"]
    """Form of delivery."""
    digest: Digest = ""
    """Content digest, where there is content or one was asked for."""
    config_map: Annotated[str, Field(max_length=253)] | None = None
    """Immutable ConfigMap that holds it."""
    url: Url | None = None
    """Where it is fetched from."""
    ref: Annotated[str, Field(max_length=256)] | None = None
    """Branch, tag or commit that was asked for."""
    path: Annotated[str, Field(max_length=1024)] | None = None
    """Folder in it that is put on sys.path."""
    secret_ref: ObjectReference | None = None
    """Secret with the credentials."""
    python_version: Annotated[str, Field(max_length=16)] | None = None
    """Interpreter that made the bundle."""
    penstock_version: Annotated[str, Field(max_length=64)] | None = None
    """SDK that made the bundle."""


class ResolvedRequirements(Model):
    """What is installed for the run."""

    digest: Digest
    """Content digest of the lines."""
    config_map: Annotated[str, Field(max_length=253)]
    """Immutable ConfigMap that holds them."""


class FoundCode(Model):
    """What the run's code turned out to be; written by its runner before user code starts, once."""

    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$", max_length=64)] | None = None
    """Commit of a git repository."""
    digest: Annotated[str, Field(max_length=71, pattern=SHA256)] | None = None
    """sha256:<hex> of an archive."""


class Resolved(Model):
    """Everything the run was resolved to; later edits of those objects do not change it."""

    deployment: ResolvedReference | None = None
    """The deployment."""
    flow: ResolvedReference
    """The flow."""
    pool: ResolvedReference
    """The pool."""
    pool_type: Literal["Job", "Pod", "Process"]
    """Its type."""
    entrypoint: Entrypoint
    """`module:function`."""
    code: ResolvedCode
    """The code."""
    requirements: ResolvedRequirements | None = None
    """What is installed for it."""
    image: Image | None = None
    """Image of the flow's container; unset: the pool template's own."""
    results: ResultDefaults | None = None
    """How the flow wants its results kept."""
    blocks: Annotated[list[ResolvedReference], Field(max_length=64)] | None = None
    """The blocks that the flow declares; mounted in each attempt."""
    results_of: Uid | None = None
    """uid of the run whose results it finds, as retries of one run do; its own when unset."""
