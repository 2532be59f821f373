"""Where the code of a flow is: what `flow.from_source` takes, by Prefect's names. Never imported in a pod.

Each kind fetches its code to this machine, so that the flow can be looked at, and says how a run is to get it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from ..api.flow import ArchiveCode, Code, GitCode
from ..api.schema import ObjectReference
from ..errors import ConfigurationError, DefinitionError

if TYPE_CHECKING:
    from ..flows import Flow

__all__ = ["GitRepository", "LocalStorage", "RemoteStorage"]


class Origin(NamedTuple):
    """Where a flow came from: how its runs get it, and its name there."""

    code: Code
    entrypoint: str


class GitRepository:
    """A repository, read over https.

    `credentials` (`username`, `password` or `token`/`access_token`) are for this machine alone and are written nowhere;
    runs read the Secret that `secret` names.
    """

    def __init__(
        self,
        url: str,
        credentials: Mapping[str, str] | None = None,
        name: str | None = None,
        branch: str | None = None,
        commit_sha: str | None = None,
        include_submodules: bool = False,
        pull_interval: int | None = 60,  # noqa: ARG002 - as Prefect calls it: each run looks
        directories: list[str] | None = None,  # noqa: ARG002 - likewise: a commit comes whole
        *,
        tag: str | None = None,
        secret: str | None = None,
    ) -> None:
        given = [ref for ref in (branch, tag, commit_sha) if ref]
        if len(given) > 1:
            raise ConfigurationError("GitRepository: say one of branch, tag and commit_sha")
        if include_submodules:
            raise ConfigurationError("GitRepository: submodules are not fetched; put their code into the repository")
        self.url, self.ref, self._secret = url, given[0] if given else "HEAD", secret
        self.name = name or PurePosixPath(url).stem
        self._credentials = dict(credentials or {})
        if "access_token" in self._credentials:
            self._credentials.setdefault("token", self._credentials.pop("access_token"))

    def fetch(self) -> Path:
        """The folder of its files on this machine. Raises CodeUnavailable."""
        from ..code import git

        return git.fetch(self.url, self.ref, self._credentials)[0]

    def code(self, path: str | None) -> Code:
        """How runs get it. Raises DefinitionError where they could not."""
        if self._credentials and not self._secret:
            raise DefinitionError(
                f"{self.url}: credentials given here are not sent to the cluster; make a Secret of them "
                "(kubectl create secret generic NAME --from-literal token=...) and give GitRepository(secret=NAME)"
            )
        reference = ObjectReference(name=self._secret) if self._secret else None
        return Code(git=GitCode(url=self.url, ref=self.ref, path=path, secret_ref=reference))


class RemoteStorage:
    """A tar or zip archive in object storage: s3://, gs://, az://, or file:// on a volume that pods mount too."""

    def __init__(
        self,
        url: str,
        pull_interval: int | None = 60,  # noqa: ARG002 - as Prefect calls it
        *,
        digest: str | None = None,
        secret: str | None = None,
    ) -> None:
        self.url, self._digest, self._secret = url, digest, secret

    def fetch(self) -> Path:
        """The folder of its files on this machine, by the credentials of the environment. Raises CodeUnavailable."""
        from ..code import archives

        folder, self._digest = archives.fetch(self.url, self._digest, {})
        return folder

    def code(self, path: str | None) -> Code:
        """How runs get it: this very archive, once it was fetched."""
        reference = ObjectReference(name=self._secret) if self._secret else None
        return Code(archive=ArchiveCode(url=self.url, digest=self._digest, path=path, secret_ref=reference))


class LocalStorage:
    """A folder on this machine, whose code goes to runs as a bundle: the flow and the modules it needs."""

    def __init__(self, path: str | Path, pull_interval: int | None = None) -> None:  # noqa: ARG002 - likewise
        self.path = Path(path).expanduser()

    def fetch(self) -> Path:
        """The folder. Raises DefinitionError where there is none."""
        if not self.path.is_dir():
            raise DefinitionError(f"from_source: {self.path} is no folder; name the one that the entrypoint is in")
        return self.path.resolve()


def storage_of(source: Any) -> GitRepository | RemoteStorage | LocalStorage:
    """The storage that a source means: itself, a git URL, the URL of an archive, or a folder."""
    if isinstance(source, GitRepository | RemoteStorage | LocalStorage):
        return source
    text = str(source)
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in ("http", "https") or text.endswith(".git"):
        return GitRepository(text)
    if scheme:
        return RemoteStorage(text)
    return LocalStorage(text)


def flow_from(source: Any, entrypoint: str) -> Flow[Any, Any]:
    """The flow `path/file.py:name` (or `module:name`) of a source, which knows how its runs get it."""
    from ..flows import Flow

    storage = storage_of(source)
    folder = storage.fetch()
    path, module, name = located(entrypoint)
    for place in dict.fromkeys((str(folder), str(folder / path) if path else str(folder))):
        sys.path.insert(0, place)
    try:
        sys.modules.pop(module, None)  # of another source, or of an earlier version
        found: Any = import_module(module)
    except ImportError as error:
        raise DefinitionError(f"from_source: {entrypoint} cannot be imported from {source}: {error}") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Flow):
        raise DefinitionError(f"from_source: {entrypoint} of {source} is no flow, but {type(found).__name__}")
    if isinstance(storage, LocalStorage):
        from ..bundling import bundled

        code = bundled(found)
    else:
        code = storage.code(path)
    # A flow of its own: the module may use its flow without having been fetched from anywhere.
    return found.of(Origin(code, f"{module}:{name}"))


def located(entrypoint: str) -> tuple[str | None, str, str]:
    """Folder, module and name of an entrypoint. Raises DefinitionError where it is none."""
    where, sign, name = entrypoint.rpartition(":")
    file = PurePosixPath(where)
    module = file.stem if file.suffix == ".py" else where
    if not sign or not name or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise DefinitionError(
            f"entrypoint {entrypoint!r}: write path/file.py:flow or module:flow, where the file is a module's name"
        )
    folder = str(file.parent) if file.suffix == ".py" else "."
    return (None if folder == "." else folder), module, name
