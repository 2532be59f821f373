"""Code in a git repository: one commit is fetched without its history, and its files are written out.

By dulwich (`pip install "penstock[git]"`), imported when a repository is fetched; `docs/designs/011` says why not by
the git program. Hooks, filters and submodules of the repository are not looked at, and no configuration of a machine.
"""

from __future__ import annotations

import re
import stat
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import CodeUnavailable, ConfigurationError
from .folders import kept, origin
from .patience import patiently
from .trees import Tree

MAX_BYTES = 512 << 20  # of what the server sends
TIMEOUT = 60.0  # seconds without a byte
USERNAME = "x-access-token"  # where the Secret says none; GitHub and GitLab take any with a token
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def fetch(url: str, ref: str, secret: Mapping[str, str]) -> tuple[Path, str]:
    """The folder of the files that `ref` (branch, tag or commit) means now, and its commit.

    `secret` may hold `password` (or `token`) and `username`. Raises CodeUnavailable.
    """
    with closing(_Remote(url, secret)) as remote:
        commit = ref if _COMMIT.fullmatch(ref) else patiently(lambda: remote.commit_of(ref))
        key = origin(url, secret, commit)
        return kept("git", key, lambda folder: patiently(lambda: remote.write(commit, ref, folder))), commit


def meant(ref: str, refs: Mapping[bytes, bytes | None]) -> bytes | None:
    """What a server's refs say of a branch or tag, in git's own order; a tag's commit is its own where it is peeled."""
    for name in (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
        found = refs.get(f"{name}^{{}}".encode()) or refs.get(name.encode())
        if found:
            return found
    return None


class _Remote:
    """A repository that is elsewhere."""

    def __init__(self, url: str, secret: Mapping[str, str]) -> None:
        try:
            import dulwich.client
            import dulwich.errors
        except ImportError:
            raise ConfigurationError(
                f'{url} needs a library that is not installed: pip install "penstock[git]"'
            ) from None
        self._url = url
        self._failures = (dulwich.errors.GitProtocolError, OSError)
        self._denied = (dulwich.client.HTTPUnauthorized, dulwich.client.HTTPProxyUnauthorized)
        self._none = dulwich.errors.NotGitRepository
        self._given = password = secret.get("password") or secret.get("token")
        username = (secret.get("username") or USERNAME) if password else None
        self._client: Any = dulwich.client.HttpGitClient(
            url, username=username, password=password, timeout=TIMEOUT, quiet=True
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def commit_of(self, ref: str) -> str:
        """The commit of a branch or tag, as the server says now."""
        with self._explained():
            refs = self._client.get_refs("", ref_prefix=_prefixes(ref)).refs
        found = meant(ref, refs)
        if found is None:
            raise CodeUnavailable(
                f"spec.code.git.ref: {ref} is neither branch nor tag of {self._url}; correct it, or push it"
            )
        return found.decode()

    def write(self, commit: str, ref: str, folder: Path) -> None:
        """Write the files of a commit into the folder."""
        from dulwich.objects import Commit, Tag
        from dulwich.repo import Repo

        for left in folder.iterdir():
            _remove(left)
        with tempfile.TemporaryDirectory() as scratch, Repo.init_bare(scratch) as repository:
            objects: Any = repository.object_store
            sha = commit.encode()
            for depth in (1, None):  # a server may give no commit by its name: then all it has is looked through
                try:
                    self._fetch(repository, sha if depth else None, depth)
                except CodeUnavailable:
                    if depth is None:
                        raise
                if sha in objects:
                    break
            else:
                raise CodeUnavailable(
                    f"spec.code.git.ref: commit {commit} is not in {self._url} (any more)"
                    f"{'' if ref == commit else f', though {ref} named it'}; push it again, or make a run of another"
                )
            found = objects[sha]
            while isinstance(found, Tag):
                found = objects[found.object[1]]
            if not isinstance(found, Commit):
                raise CodeUnavailable(f"spec.code.git.ref: {ref} of {self._url} is no commit")
            tree = Tree(folder, f"spec.code.git.url: {self._url}")
            for entry in objects.iter_tree_contents(found.tree):
                mode = entry.mode or 0
                if stat.S_ISREG(mode):
                    blob: Any = objects[entry.sha]
                    name = entry.path.decode("utf-8", "surrogateescape")
                    tree.write(name, blob.chunked, executable=bool(mode & 0o100))

    def _fetch(self, repository: Any, commit: bytes | None, depth: int | None) -> None:
        """Take a commit, or all branches and tags, into the repository."""
        received = 0

        def wants(refs: Mapping[bytes, bytes], **_: object) -> list[bytes]:
            return [commit] if commit else sorted(set(refs.values()))

        def take(data: bytes) -> int:
            nonlocal received
            received += len(data)
            if received > MAX_BYTES:
                raise CodeUnavailable(f"spec.code.git.url: {self._url} sends more than {MAX_BYTES >> 20} MiB")
            return int(pack.write(data))

        with self._explained():
            pack, commit_pack, abort = repository.object_store.add_pack()
            try:
                result = self._client.fetch_pack("", wants, repository.get_graph_walker(), take, depth=depth)
            except BaseException:
                abort()
                raise
            commit_pack()
            repository.update_shallow(result.new_shallow, result.new_unshallow)

    def _explained(self) -> Any:
        return _Explained(self._url, self._failures, self._denied, self._none, bool(self._given))


class _Explained:
    """Turns what the library raises into what its reader can do; its own errors are not chained, they hold requests."""

    def __init__(
        self, url: str, failures: Any, denied: tuple[type[Exception], ...], none: type[Exception], given: bool
    ) -> None:
        self._url, self._failures, self._denied, self._none, self._given = url, failures, denied, none, given

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._denied):
            field = "the Secret's password (or token) is not taken" if self._given else "it wants credentials"
            raise CodeUnavailable(f"spec.code.git.secretRef: {self._url} refuses to be read: {field}") from None
        if isinstance(error, self._none):
            raise CodeUnavailable(
                f"spec.code.git.url: there is no repository at {self._url}, or none that these credentials may read"
            ) from None
        if isinstance(error, self._failures) and not isinstance(error, CodeUnavailable):
            said = " ".join(str(error).split())[:300] or type(error).__name__
            lasting = re.search(r"unexpected http resp 4(?!08|29)\d\d|not our ref|CERTIFICATE_VERIFY", said)
            raise CodeUnavailable(f"spec.code.git.url: {self._url}: {said}", transient=not lasting) from None


def _prefixes(ref: str) -> Iterable[bytes]:
    return [name.encode() for name in (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}")]


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
