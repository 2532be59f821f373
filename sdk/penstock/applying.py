"""Applies manifests to the cluster so that nothing is lost: all are checked first, and what others said stays theirs.

Called by `penstock deploy` and by `flow.deploy`. What a manifest is made of, it need not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .client import ApiError, Conflict, NotFound
from .errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .client import Client

Body = dict[str, Any]

ROLLBACK = "penstock-rollback"  # field manager of going back, which the next deploy is to overwrite


class ApplyRefused(PenstockError):
    """Nothing was changed; the message names the object, the field and the remedy."""

    reason = "ApplyRefused"


@dataclass(frozen=True, slots=True)
class Applied:
    """An object before and after."""

    before: Body | None
    after: Body

    @property
    def result(self) -> str:
        """created, changed or unchanged."""
        if self.before is None:
            return "created"
        return "changed" if self.before["spec"] != self.after["spec"] else "unchanged"


def apply_all(
    client: Client, manifests: Sequence[Body], *, force: bool = False, dry_run: bool = False
) -> list[Applied]:
    """Server-side apply of all of them, or of none where the API server refuses one. Raises ApplyRefused.

    A field that somebody else has said otherwise is refused, unless `force` takes it over. A deployment that runs
    another flow is refused in any case: it is somebody else's, of the same name.
    """
    before = [_before(client, manifest) for manifest in manifests]
    for manifest, found in zip(manifests, before, strict=True):
        _refuse_other_flow(manifest, found)
    checked = [_apply(client, manifest, force=force, dry_run=True) for manifest in manifests]
    after = checked if dry_run else [_apply(client, manifest, force=force, dry_run=False) for manifest in manifests]
    return [Applied(old, new) for old, new in zip(before, after, strict=True)]


def _before(client: Client, manifest: Body) -> Body | None:
    try:
        return client.get(f"{manifest['kind'].lower()}s", manifest["metadata"]["name"])
    except NotFound as error:
        if error.api_reason == "NotInstalled":
            raise
        return None


def _refuse_other_flow(manifest: Body, found: Body | None) -> None:
    wanted = (manifest["spec"].get("flowRef") or {}).get("name")
    there = ((found or {}).get("spec", {}).get("flowRef") or {}).get("name")
    if there in (None, wanted) or wanted is None:
        return
    name = manifest["metadata"]["name"]
    raise ApplyRefused(
        f"deployment {name} runs flow {there}, not {wanted}: choose another name, "
        f"or delete it first (penstock deployments delete {name}). Nothing was changed."
    )


def _apply(client: Client, manifest: Body, *, force: bool, dry_run: bool) -> Body:
    try:
        return client.apply(manifest, dry_run=dry_run, force=force)
    except Conflict as error:
        others = [(field, owner(why)) for field, why in error.causes if owner(why) != ROLLBACK]
        if error.causes and not others:
            return client.apply(manifest, dry_run=dry_run)
        raise _refused(manifest, _conflict(others) if others else str(error), dry_run) from error
    except ApiError as error:
        raise _refused(manifest, str(error), dry_run) from error


def owner(why: str) -> str:
    """The field manager that a conflict names: `conflict with "kubectl-edit" using penstock.dev/v1alpha1`."""
    return why.split('"')[1] if why.count('"') >= 2 else why


def _conflict(others: Sequence[tuple[str, str]]) -> str:
    """Which fields others have said otherwise, and what to do."""
    told = ", ".join(f"{field.removeprefix('.')} (by {who})" for field, who in others)
    return f"{told} was set otherwise: leave it out of what you deploy, or take it over with --force"


def _refused(manifest: Body, why: str, dry_run: bool) -> ApplyRefused:
    told = f"{manifest['kind']} {manifest['metadata']['name']}: {why}"
    return ApplyRefused(f"{told}. Nothing was changed." if dry_run else told)
