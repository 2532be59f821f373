"""The Flow kind: what code is run, with which parameters, and its defaults."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .delivery import REQUIREMENT
from .schema import (
    AGE,
    READY_COLUMNS,
    Column,
    Conditions,
    Count,
    Digest,
    Entrypoint,
    Image,
    JsonObject,
    Kind,
    LongText,
    Model,
    ObjectReference,
    Resource,
    Rule,
    Seconds,
    SecondsOrZero,
    Url,
    Word,
    exactly_one,
)

MAX_SOURCE = 131_072  # characters of inline source
MAX_BUNDLE = 163_840  # characters of a base64 bundle


SHA256 = r"^sha256:[0-9a-f]{64}$"


def without_credentials(name: str, remedy: str) -> Rule:
    """A rule that an optional URL has no user, password or token in its host part."""
    return Rule(
        f"!has(self.{name}) || !self.{name}.matches('^[^:/]*://[^/?#]*@')",
        f"{name}: put credentials into a Secret that {remedy} names",
        f".{name}",
    )


def inside(name: str) -> Rule:
    """A rule that an optional path stays below where it begins."""
    return Rule(
        f"!has(self.{name}) || !self.{name}.matches('^/|(^|/)[.][.](/|$)')",
        f"{name}: a path within, without .. and without a slash in front",
        f".{name}",
    )


Requirement = Annotated[str, Field(min_length=1, max_length=512, pattern=REQUIREMENT)]
Requirements = Annotated[list[Requirement], Field(max_length=128)]
NO_CREDENTIALS_IN_REQUIREMENTS = Rule(
    "!has(self.requirements) || !self.requirements.exists(line, line.matches('://[^/?#]*@'))",
    "requirements: put credentials of an index into a Secret and name it in the environment of the pool's template",
    ".requirements",
)


class ImageCode(Model):
    """Code that is part of the image and importable there."""

    image: Image | None = None
    """Image that holds it; unset: that of the deployment or pool."""


class SourceCode(Model):
    """Code as text, one module."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_SOURCE)]
    """Python source, up to 128 KiB."""


class BundleCode(Model):
    """A cloudpickled flow with its local modules, as `penstock deploy --bundle` makes it."""

    rules = (
        exactly_one(("data", "url"), "bundle"),
        Rule("!has(self.url) || has(self.digest)", "digest: say the sha256 of what is at url", ".digest"),
        without_credentials("url", "secretRef"),
    )

    data: Annotated[str, Field(min_length=1, max_length=MAX_BUNDLE, pattern=r"^[A-Za-z0-9+/=]+$")] | None = None
    """Base64 of the bundle, up to 160 KiB."""
    url: Url | None = None
    """URL of a larger one in object storage, such as s3://bucket/key."""
    digest: Annotated[str, Field(max_length=71, pattern=SHA256)] | None = None
    """sha256:<hex> of the bundle at `url`, verified before it is opened."""
    secret_ref: ObjectReference | None = None
    """Secret with the credentials of `url`, by the names of environment variables (AWS_ACCESS_KEY_ID and its like)."""
    python_version: Annotated[str, Field(max_length=16, pattern=r"^3\.[0-9]+(\.[0-9]+)?$")]
    """Interpreter that made it."""
    penstock_version: Annotated[str, Field(max_length=64)]
    """SDK that made it."""


class GitCode(Model):
    """Code in a git repository."""

    rules = (
        Rule(
            "self.url.matches('^https?://')",
            "url: a repository is fetched over https (or http); others are not spoken",
            ".url",
        ),
        without_credentials("url", "secretRef"),
        inside("path"),
    )

    url: Url
    """URL of the repository (https), without credentials."""
    ref: Annotated[str, Field(min_length=1, max_length=256)] = "HEAD"
    """Branch, tag or commit; a run keeps to the commit that it meant when the run began."""
    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Folder in the repository that is put on sys.path; its top when unset."""
    secret_ref: ObjectReference | None = None
    """Secret with the credentials: password (or token), and username where the server wants a certain one."""


class ArchiveCode(Model):
    """A tar (gzip, bzip2, xz) or zip archive in object storage."""

    rules = (without_credentials("url", "secretRef"), inside("path"))

    url: Url
    """URL of the archive, such as s3://bucket/key.tar.gz."""
    digest: Annotated[str, Field(max_length=71, pattern=SHA256)] | None = None
    """sha256:<hex> of the archive, verified before it is unpacked."""
    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Folder in the archive that is put on sys.path; its top when unset."""
    secret_ref: ObjectReference | None = None
    """Secret with the credentials, by the names of environment variables; those of the pool's results when unset."""


class Code(Model):
    """Where the code comes from; exactly one source."""

    rules = (exactly_one(("image", "source", "bundle", "git", "archive"), "code"),)

    image: ImageCode | None = None
    """In the image."""
    source: SourceCode | None = None
    """Inline text."""
    bundle: BundleCode | None = None
    """A cloudpickle."""
    git: GitCode | None = None
    """A git repository."""
    archive: ArchiveCode | None = None
    """An archive in object storage."""


class ResultDefaults(Model):
    """How results of tasks and flows are kept."""

    persist: bool | None = None
    """Whether results are written to the result store."""
    storage: Url | None = None
    """URL of the store; the pool's when unset."""
    serializer: Annotated[str, Field(max_length=64)] | None = None
    """pickle, json, compressed/pickle or compressed/json."""


class LoggingDefaults(Model):
    """How a run logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = None
    """Lowest level that is written."""
    log_prints: bool | None = None
    """Whether print() becomes a log record."""


class FlowSpec(Model):
    """What is wanted of a flow."""

    rules = (NO_CREDENTIALS_IN_REQUIREMENTS,)

    code: Code
    """Where the code comes from."""
    entrypoint: Entrypoint
    """`module:function` of the flow object."""
    requirements: Requirements | None = None
    """Packages that are installed for its runs, as lines of requirements.txt; for those who build no images."""
    description: LongText | None = None
    """What the flow does, from its docstring."""
    version: Annotated[str, Field(max_length=128)] | None = None
    """The author's word for this version."""
    parameters: JsonObject | None = None
    """JSON Schema (draft 2020-12) of the parameters, derived from the signature."""
    blocks: Annotated[list[Word], Field(max_length=64)] | None = None
    """Names of the Blocks that the flow reads; mounted by the operator."""
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Retries of the whole function in the same process, as the code says; for readers, since the code decides."""
    retry_delay_seconds: SecondsOrZero | None = None
    """Seconds between them, as the code says; for readers."""
    timeout_seconds: Seconds | None = None
    """What ends a try of the flow as Failed, TimedOut, as the code says; for readers."""
    results: ResultDefaults | None = None
    """Result persistence."""
    logging: LoggingDefaults | None = None
    """Logging, as the code says; for readers."""


class FlowStatus(Model):
    """What is known of a flow."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready: its code can be delivered."""
    code_digest: Digest | None = None
    """Content digest of the code."""


class Flow(Resource):
    """A flow: code, entrypoint, parameter schema and defaults."""

    about: ClassVar[Kind] = Kind(
        "Flow",
        "flows",
        "fl",
        columns=(
            Column("Entrypoint", ".spec.entrypoint"),
            *READY_COLUMNS,
            Column("Version", ".spec.version", priority=1),
            AGE,
        ),
    )

    spec: FlowSpec
    """What is wanted."""
    status: FlowStatus | None = None
    """What is known."""
