"""What a run remembers of its flow's code, and which copies of it the cluster keeps. Pure; called by `resolve`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from penstock.api import labels, names

from .views import Body

SOURCES = ("image", "source", "bundle", "git", "archive")


@dataclass(frozen=True, slots=True)
class Copy:
    """Content that a ConfigMap keeps under its digest: one file, text or bytes."""

    digest: str
    key: str
    content: str | bytes


def kind_of(flow: Body) -> str:
    """Which of the forms of delivery the flow's code has; empty for none that is known."""
    return next((source for source in SOURCES if source in flow["spec"]["code"]), "")


def problem(flow: Body, pool: Body | None = None) -> str | None:
    """Why the flow's code cannot be delivered (to a pool), as a sentence; None when it can."""
    kind = kind_of(flow)
    if not kind:
        return f"spec.code: set one of {', '.join(SOURCES)}"
    code = flow["spec"]["code"][kind] or {}
    if kind == "bundle" and "data" in code:
        try:
            base64.b64decode(code["data"], validate=True)
        except binascii.Error as error:
            return f"spec.code.bundle.data: it is no base64 ({error}); make it with `penstock deploy --bundle`"
    if pool is not None and pool["spec"]["type"] == "Process" and code.get("secretRef"):
        return (
            f"spec.code.{kind}.secretRef: the workers of WorkPool {pool['metadata']['name']} are there before the flow "
            "and mount no Secret for it; use a pool of type Pod or Job"
        )
    return None


def remembered(flow: Body) -> tuple[Body, tuple[Copy, ...]]:
    """`status.resolved.code` of a run, and what is to be kept for it. The code has no problem."""
    kind = kind_of(flow)
    code = flow["spec"]["code"][kind] or {}
    if kind == "source":
        return _kept("source", labels.CODE_FILE, code["text"])
    if kind == "bundle":
        made = {name: code[name] for name in ("pythonVersion", "penstockVersion")}
        if "data" in code:
            found, copies = _kept("bundle", labels.BUNDLE_FILE, base64.b64decode(code["data"]))
            return {**found, **made}, copies
        return {"kind": kind, **_of(code, "url", "digest", "secretRef"), **made}, ()
    if kind == "git":
        return {"kind": kind, "ref": "HEAD", **_of(code, "url", "ref", "path", "secretRef")}, ()
    if kind == "archive":
        return {"kind": kind, **_of(code, "url", "digest", "path", "secretRef")}, ()
    return {"kind": kind}, ()


def requirements(flow: Body, deployment: Body | None) -> tuple[Body | None, tuple[Copy, ...]]:
    """`status.resolved.requirements` of a run, and what is to be kept for it: the deployment's, else the flow's."""
    given = ((deployment or {}).get("spec") or {}).get("requirements")
    lines = flow["spec"].get("requirements") if given is None else given
    if not lines:
        return None, ()
    text = "".join(f"{line}\n" for line in lines)
    digest = names.content_digest(f"{labels.REQUIREMENTS_FILE}\n{text}")  # never that of somebody's source
    reference = {"digest": digest, "configMap": names.code_config_map(digest)}
    return reference, (Copy(digest, labels.REQUIREMENTS_FILE, text),)


def digest(flow: Body) -> str | None:
    """Content digest of the code, where there is content."""
    return remembered(flow)[0].get("digest")


def _kept(kind: str, key: str, content: str | bytes) -> tuple[Body, tuple[Copy, ...]]:
    found = names.content_digest(content)
    reference = {"kind": kind, "digest": found, "configMap": names.code_config_map(found)}
    return reference, (Copy(found, key, content),)


def _of(code: Body, *fields: str) -> Body:
    return {name: code[name] for name in fields if code.get(name) is not None}
