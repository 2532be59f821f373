"""Artifacts: what a run shows to people. `create_markdown_artifact("# Done", key="report")`.

An artifact with a key is one object, updated in place by whichever run writes it; one without a key goes with its run.
The id that each function returns is the object's name.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from . import resources, tables
from .api import labels, names
from .context import FLOW, TASK
from .dispatch import dispatch, in_a_thread
from .engine.ids import new_id
from .errors import InvalidResource, ResourceExists, ResourceNotFound
from .progress import Updates

if TYPE_CHECKING:
    from typing import Self

    from .resources import Body, Resources

__all__ = [
    "Artifact",
    "ImageArtifact",
    "LinkArtifact",
    "MarkdownArtifact",
    "ProgressArtifact",
    "TableArtifact",
    "acreate_image_artifact",
    "acreate_link_artifact",
    "acreate_markdown_artifact",
    "acreate_progress_artifact",
    "acreate_table_artifact",
    "aupdate_progress_artifact",
    "create_image_artifact",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "update_progress_artifact",
]

TYPES = ("markdown", "table", "link", "progress", "image")
MAX_KEY, MAX_DESCRIPTION = 63, 32_768
MAX_DATA = 262_144  # bytes of JSON: etcd takes 1.5 MiB an object, and lists hold many
MAX_TOLD = 1024  # characters of a description that an event repeats
_KEY = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ID = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class Artifact:
    """An artifact: to be created, or as it is kept (then with `id`, the run that wrote it, and the time)."""

    TYPE: ClassVar[str | None] = None

    id: str | None = None
    flow_run_name: str | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    created: str | None = None

    def __init__(
        self, type: str | None = None, key: str | None = None, description: str | None = None, data: Any = None
    ) -> None:
        self.type: str = type or self.TYPE or ""
        self.key, self.description, self.data = key, description, data

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(type={self.type!r}, key={self.key!r}, id={self.id!r})"

    def format(self) -> Any:
        """The content as it is kept."""
        return self.data

    def create(self) -> Self:
        """Keep it; with a key, instead of what the key had."""
        return dispatch(self._create)

    async def acreate(self) -> Self:
        """`create` for async callers."""
        return await in_a_thread(self._create)

    @classmethod
    def get(cls, key: str) -> Artifact | None:
        """The artifact with this key as it is now, or None."""
        return dispatch(cls._get, key)

    @classmethod
    async def aget(cls, key: str) -> Artifact | None:
        """`get` for async callers."""
        return await in_a_thread(cls._get, key)

    @classmethod
    def get_or_create(
        cls, key: str, description: str | None = None, data: Any = None, **kwargs: Any
    ) -> tuple[Artifact, bool]:
        """The artifact with this key, and whether it was made now."""
        return dispatch(cls._get_or_create, key, description, data, **kwargs)

    @classmethod
    async def aget_or_create(
        cls, key: str, description: str | None = None, data: Any = None, **kwargs: Any
    ) -> tuple[Artifact, bool]:
        """`get_or_create` for async callers."""
        return await in_a_thread(cls._get_or_create, key, description, data, **kwargs)

    def _create(self) -> Self:
        body = _kept(self.type, self.key, self.description, self.format())
        self._take(body)
        return self

    def _take(self, body: Body) -> None:
        spec, run = body["spec"], body["spec"].get("run") or {}
        self.id, self.created = body["metadata"]["name"], body["metadata"].get("creationTimestamp")
        self.type, self.key, self.data = spec["type"], spec.get("key"), spec.get("data")
        self.description = spec.get("description") or None
        if self.type == "table":
            self.data = tables.rows(self.data)
        self.flow_run_name, self.flow_run_id, self.task_run_id = run.get("name"), run.get("uid"), run.get("taskRun")

    @classmethod
    def _get(cls, key: str) -> Artifact | None:
        _deliver()
        body = resources.current().get("artifacts", names.keyed_artifact(_checked_key(key)))
        return None if body is None else of_body(body)

    @classmethod
    def _get_or_create(cls, key: str, description: str | None, data: Any, **kwargs: Any) -> tuple[Artifact, bool]:
        found = cls._get(key)
        if found is not None:
            return found, False
        given = {"key": key, "description": description, **kwargs, **({} if data is None else {"data": data})}
        return cls(**given)._create(), True


class MarkdownArtifact(Artifact):
    """Text in Markdown."""

    TYPE = "markdown"

    def __init__(self, markdown: str, key: str | None = None, description: str | None = None) -> None:
        super().__init__(key=key, description=description, data=markdown)


class TableArtifact(Artifact):
    """Rows: a list of mappings or of lists, or a mapping of columns."""

    TYPE = "table"

    def __init__(self, table: Any, key: str | None = None, description: str | None = None) -> None:
        super().__init__(key=key, description=description, data=table)

    def format(self) -> Any:
        """As `tables.kept` has it. Raises InvalidResource where it is no table."""
        return tables.kept(self.data)


class LinkArtifact(Artifact):
    """A link, kept as Markdown: `[text](url)`."""

    TYPE = "link"

    def __init__(
        self, link: str, link_text: str | None = None, key: str | None = None, description: str | None = None
    ) -> None:
        super().__init__(key=key, description=description, data=f"[{link_text or link}]({link})")


class ImageArtifact(Artifact):
    """The URL of an image."""

    TYPE = "image"

    def __init__(self, image_url: str, key: str | None = None, description: str | None = None) -> None:
        super().__init__(key=key, description=description, data=image_url)


class ProgressArtifact(Artifact):
    """A percentage, from 0 to 100."""

    TYPE = "progress"

    def __init__(self, progress: float, key: str | None = None, description: str | None = None) -> None:
        super().__init__(key=key, description=description, data=progress)

    def format(self) -> Any:
        """The percentage. Raises InvalidResource where it is none."""
        return _checked_progress(self.data)

    def _create(self) -> Self:
        super()._create()
        _updates(resources.current()).made(str(self.id))
        return self


def create_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> str:
    """Show text in Markdown; the artifact's id."""
    return dispatch(_id_of, MarkdownArtifact(markdown, key, description))


async def acreate_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> str:
    """`create_markdown_artifact` for async callers."""
    return await in_a_thread(_id_of, MarkdownArtifact(markdown, key, description))


def create_table_artifact(table: Any, key: str | None = None, description: str | None = None) -> str:
    """Show rows: a list of mappings or of lists, or a mapping of columns; the artifact's id."""
    return dispatch(_id_of, TableArtifact(table, key, description))


async def acreate_table_artifact(table: Any, key: str | None = None, description: str | None = None) -> str:
    """`create_table_artifact` for async callers."""
    return await in_a_thread(_id_of, TableArtifact(table, key, description))


def create_link_artifact(
    link: str, link_text: str | None = None, key: str | None = None, description: str | None = None
) -> str:
    """Show a link; the artifact's id."""
    return dispatch(_id_of, LinkArtifact(link, link_text, key, description))


async def acreate_link_artifact(
    link: str, link_text: str | None = None, key: str | None = None, description: str | None = None
) -> str:
    """`create_link_artifact` for async callers."""
    return await in_a_thread(_id_of, LinkArtifact(link, link_text, key, description))


def create_image_artifact(image_url: str, key: str | None = None, description: str | None = None) -> str:
    """Show the image at a URL; the artifact's id."""
    return dispatch(_id_of, ImageArtifact(image_url, key, description))


async def acreate_image_artifact(image_url: str, key: str | None = None, description: str | None = None) -> str:
    """`create_image_artifact` for async callers."""
    return await in_a_thread(_id_of, ImageArtifact(image_url, key, description))


def create_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> str:
    """Show a percentage, which `update_progress_artifact` moves; the artifact's id."""
    return dispatch(_id_of, ProgressArtifact(progress, key, description))


async def acreate_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> str:
    """`create_progress_artifact` for async callers."""
    return await in_a_thread(_id_of, ProgressArtifact(progress, key, description))


def update_progress_artifact(artifact_id: str, progress: float, description: str | None = None) -> str:
    """Move the percentage of an artifact. In a cluster at most once a second is written: the newest; 100 at once."""
    return dispatch(_update, artifact_id, progress, description)


async def aupdate_progress_artifact(artifact_id: str, progress: float, description: str | None = None) -> str:
    """`update_progress_artifact` for async callers."""
    return await in_a_thread(_update, artifact_id, progress, description)


def of_body(body: Body) -> Artifact:
    """The artifact that an object holds."""
    found = Artifact()
    found._take(body)
    return found


def _id_of(artifact: Artifact) -> str:
    return str(artifact._create().id)


def _update(artifact_id: Any, progress: float, description: str | None) -> str:
    if not isinstance(artifact_id, str) or not _ID.fullmatch(artifact_id):
        raise InvalidResource(f"artifact_id {artifact_id!r}: give what create_progress_artifact returned")
    name: str = artifact_id
    fields: Body = {"/spec/data": _checked_progress(progress)}
    if description is not None:
        fields["/spec/description"] = _checked_description(description)
    where = resources.current()
    source = _source(where)
    if source is not None:
        fields["/spec/run"] = source
    _updates(where).put(name, fields, last=progress >= 100)
    return name


_lock = threading.Lock()
_made: dict[tuple[str, ...], tuple[int, int]] = {}  # by whom and type: the try it was in, and how many it has made
_process: tuple[Resources, Updates] | None = None


def _updates(where: Resources) -> Updates:
    global _process
    with _lock:
        if _process is None or _process[0] is not where:
            _process = (where, Updates(lambda name, fields: _change(where, name, fields), where.update_interval))
        return _process[1]


def _deliver() -> None:
    """Nobody reads an older percentage than the last that was given."""
    if _process is not None:
        _process[1].flush()


def flush(seconds: float) -> None:
    """Deliver the percentages that wait for their turn, for so long at most. Called where a run ends."""
    if _process is not None:
        _process[1].flush(seconds)


def _change(where: Resources, name: str, fields: Any) -> Body:
    try:
        body = where.change("artifacts", name, fields)
    except ResourceNotFound as error:
        raise ResourceNotFound(f"artifact {name} is not in {where.place}: create it first") from error
    return _told(where, "updated", body) if fields["/spec/data"] >= 100 else body  # steps on the way are no news


def _kept(type_: str, key: str | None, description: str | None, data: Any) -> Body:
    """Create or update the object."""
    if type_ not in TYPES:
        raise InvalidResource(f"artifact type {type_!r}: it is one of {', '.join(TYPES)}")
    where = resources.current()
    spec: Body = {"type": type_, "data": _checked_data(data)}
    if key is not None:
        spec["key"] = _checked_key(key)
    if description is not None:
        spec["description"] = _checked_description(description)
    source = _source(where)
    if source is not None:
        spec["run"] = source
    return _keyed(where, key, spec) if key is not None else _unkeyed(where, spec)


def _keyed(where: Resources, key: str, spec: Body) -> Body:
    name = names.keyed_artifact(key)
    for _ in range(5):  # it may come and go between our tries
        try:
            return _told(where, "created", where.create(resources.body_of("Artifact", name, spec)))
        except ResourceExists:
            there = where.get("artifacts", name)
        if there is None:
            continue
        if there["spec"]["type"] != spec["type"]:
            raise InvalidResource(
                f"artifact key {key!r} is of type {there['spec']['type']} in {where.place}, and a key keeps its type: "
                f"choose another key for a {spec['type']}, or delete the artifact"
            )
        if there["spec"].get("key") != key:
            raise InvalidResource(f"artifact key {key!r} is the name of an artifact without a key: choose another")
        try:
            return _told(where, "updated", where.change("artifacts", name, _fields(spec)))
        except ResourceNotFound:
            continue
    raise ResourceExists(f"artifact {key!r} is created and deleted by others all the time: try again")


def _unkeyed(where: Resources, spec: Body) -> Body:
    """One that goes with its run; the same call of an earlier attempt or try is written over."""
    run = spec.get("run")
    if run is None:
        return where.create(resources.body_of("Artifact", names.artifact("", new_id(), "", spec["type"], ""), spec))
    scope, call = _call(run, spec["type"])
    attempt = str((where.run or {}).get("attempt", 1))
    name = names.artifact(run["name"], run["uid"], scope, spec["type"], str(call))
    try:
        return _told(where, "created", where.create(_owned(where, name, spec, run, attempt)))
    except ResourceExists:
        there = where.get("artifacts", name) or {"spec": {}, "metadata": {}}
    mine = (there["spec"].get("run") or {}).get("taskRun") == run.get("taskRun")
    if mine or (there["metadata"].get("labels") or {}).get(labels.ATTEMPT) != attempt:
        label = f"/metadata/labels/{labels.ATTEMPT.replace('/', '~1')}"
        try:
            return _told(where, "updated", where.change("artifacts", name, {**_fields(spec), label: attempt}))
        except ResourceNotFound:
            return _told(where, "created", where.create(_owned(where, name, spec, run, attempt)))
    # Another task run of this attempt has the same name, which its author gave to both.
    name = names.artifact(run["name"], run["uid"], scope, spec["type"], f"{call} {run.get('taskRun')}")
    return _told(where, "created", where.create(_owned(where, name, spec, run, attempt)))


def _told(where: Resources, happened: str, body: Body) -> Body:
    """The artifact; in a pod an event of the run says what happened to it."""
    if where.run is not None:
        from .events import RESOURCE_ID, emit_event

        name, spec = body["metadata"]["name"], body["spec"]
        about = {"type": spec["type"], "key": spec.get("key"), "description": spec.get("description")}
        emit_event(
            f"penstock.artifact.{happened}",
            {RESOURCE_ID: f"penstock.artifact.{name}", "penstock.resource.name": spec.get("key") or name},
            payload={word: text[:MAX_TOLD] for word, text in about.items() if text},
        )
    return body


def _owned(where: Resources, name: str, spec: Body, run: Body, attempt: str) -> Body:
    body = resources.body_of("Artifact", name, spec)
    body["metadata"]["labels"] |= {labels.RUN: run["name"], labels.ATTEMPT: attempt}
    if where.run is not None:
        owner = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "name": run["name"], "uid": run["uid"]}
        body["metadata"]["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": False}]
    return body


def _fields(spec: Body) -> Body:
    """The fields to set so that an object that was there says what `spec` says."""
    return {f"/spec/{name}": spec[name] for name in ("data", "run") if name in spec} | {
        "/spec/description": spec.get("description", "")
    }


def _source(where: Resources) -> Body | None:
    """Who makes the artifact: the pod's run, or the one on this machine; nobody the cluster of a kubeconfig knows."""
    context, task = FLOW.get(), TASK.get()
    if where.run is not None:
        found = {"name": where.run["name"], "uid": where.run["uid"]}
    elif where.update_interval == 0 and context is not None:
        found = {"name": context.run.name, "uid": context.run.id}
    else:
        return None
    return {**found, "taskRun": task.run.id} if task is not None else found


def _call(run: Body, type_: str) -> tuple[str, int]:
    """Whose artifact it is, by names that a new attempt gives again, and the how manieth of this try."""
    context, task = FLOW.get(), TASK.get()
    subflow = context.run.name if context is not None and context.run.id != run["uid"] else ""
    scope = f"{subflow}/{task.run.name}" if task is not None else subflow
    tries = task.run.run_count if task is not None else context.run.run_count if context is not None else 0
    key = (run["uid"], scope, type_, run.get("taskRun") or "")
    with _lock:
        before, made = _made.get(key, (tries, 0))
        number = made if before == tries else 0
        _made[key] = (tries, number + 1)
    return scope, number


def _checked_key(key: Any) -> str:
    if not isinstance(key, str) or len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise InvalidResource(
            f"artifact key {key!r}: lower-case letters, digits and dashes, at most {MAX_KEY}, "
            "with a letter or a digit first and last"
        )
    return key


def _checked_description(text: Any) -> str:
    if not isinstance(text, str) or len(text) > MAX_DESCRIPTION:
        raise InvalidResource(
            f"artifact description: a text of at most {MAX_DESCRIPTION} characters; put longer text into the artifact"
        )
    return text


def _checked_progress(progress: Any) -> float:
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 100:
        raise InvalidResource(f"artifact progress {progress!r}: a percentage from 0 to 100")
    return progress


def _checked_data(data: Any) -> Any:
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResource(f"artifact data is no JSON ({error}): convert it first") from error
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_DATA:
        raise InvalidResource(
            f"artifact data has {size} bytes of JSON, and may have {MAX_DATA}: show a part of it, "
            "or keep it in object storage and show a link"
        )
    return json.loads(text)
