"""Every name that is derived from a cause, so that creating twice is AlreadyExists (ARCHITECTURE section 4.3).

Called wherever an object is created; names are never formatted in place.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime

MAX_RUN_NAME = 52  # `<run>-<attempt>` and a Job's `-xxxxx` suffix still fit a DNS label of 63
_NOT_DNS = re.compile(r"[^a-z0-9-]+")
_NOT_SUBDOMAIN = re.compile(r"[^a-z0-9.-]+")


def digest(*parts: str, length: int = 10) -> str:
    """Lower-case base32 of a SHA-256 over `parts`, `length` characters (5 bits each); parts are framed, so that
    ("ab", "c") and ("a", "bc") differ."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        h.update(len(raw).to_bytes(8, "big"))
        h.update(raw)
    return base64.b32encode(h.digest()).decode().lower()[:length]


def content_digest(content: str | bytes) -> str:
    """`sha256:<64 hex>` of content, as image digests are written."""
    raw = content.encode() if isinstance(content, str) else content
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def dns_label(text: str, limit: int = 63) -> str:
    """`text` as a DNS label (RFC 1123): `My_flow` becomes `my-flow`; empty when nothing of it can stand."""
    return _NOT_DNS.sub("-", text.lower().replace("_", "-")).strip("-")[:limit].rstrip("-")


def scheduled_run(deployment: str, deployment_uid: str, slug: str, due: datetime) -> str:
    """Name of the run that a schedule's slot makes: the same slot always gives the same name."""
    stamp = due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{deployment[:41].rstrip('-')}-{digest(deployment_uid, slug, stamp)}"


def backfill_run(deployment: str, backfill_uid: str, slug: str, due: datetime) -> str:
    """Name of the run that a backfill makes of a slot anew, whatever its schedule has made of it."""
    stamp = due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{deployment[:41].rstrip('-')}-{digest('backfill', backfill_uid, slug, stamp)}"


def manual_run(deployment: str, token: str) -> str:
    """Name of a run that a person started; `token` is the caller's randomness or idempotency key.

    `deployment` may be the name of a flow, which may have dots.
    """
    return f"{dns_label(deployment, 41)}-{digest(deployment, token)}"


def child_run(parent_uid: str, flow: str, parameters: str, call: int) -> str:
    """Name of the `call`-th child of a run with equal flow and parameters (JSON), the same after a restart."""
    return f"{dns_label(flow, 41) or 'flow'}-{digest(parent_uid, flow, parameters, str(call))}"


def another_take(child: str, take: int) -> str:
    """Name of a child that is run again because the one of that name ended without a result that could be used."""
    return f"{child.rpartition('-')[0]}-{digest(child, str(take))}"


def pod(run: str, attempt: int) -> str:
    """Name of the Pod or Job of an attempt."""
    return f"{run}-{attempt}"


def worker(pool: str, pool_uid: str, number: int) -> str:
    """Name of the `number`-th worker pod of a pool; numbers of workers that are gone are used again."""
    return f"{pool[:49].rstrip('-')}-worker-{digest(pool_uid, str(number), length=5)}"


def worker_lease(worker: str) -> str:
    """Name of the Lease that a worker renews."""
    return f"penstock-worker-{worker}"


def task_page(run: str, run_uid: str, attempt: int, number: int) -> str:
    """Name of a page of task records; the uid keeps pages of a namesake run apart."""
    return f"{run}-{digest(run_uid, length=5)}-{attempt}-{number}"


def event(run: str, run_uid: str, seq: int) -> str:
    """Name of the Event that reports the state change `seq`."""
    return f"{run}.{digest(run_uid, length=8)}.{seq}"


def emitted_event(run: str, run_uid: str, event_id: str) -> str:
    """Name of an Event that user code emits: the same id never makes a second one of the run."""
    return f"{run}.e{digest(run_uid, event_id, length=20)}"


def artifact(run: str, run_uid: str, scope: str, type_: str, call: str) -> str:
    """Name of an artifact without a key: the `call`-th of its type that the task run named `scope` makes (empty: the
    flow's own code), so that a new attempt or try of the same code finds it again."""
    return f"{dns_label(run, 52) or 'artifact'}-{digest(run_uid, scope, type_, call)}"


def keyed_artifact(key: str) -> str:
    """Name of the artifact with a key, whichever run writes it: there is one."""
    return key


def variable(name: str) -> str:
    """Name of the object of a variable, which may be written with underscores: `api_url` is `api-url`."""
    return name.replace("_", "-")


def concurrency_limit(name: str) -> str:
    """Name of the ConcurrencyLimit that code calls `name`: `My_DB` is `my-db`; empty when nothing of it can stand."""
    return _NOT_SUBDOMAIN.sub("-", name.lower()).strip("-.")[:253]


def block_secret(block: str) -> str:
    """Name of the Secret that holds the secret fields of a block saved by the SDK."""
    return f"penstock-block-{block}" if len(block) <= 238 else f"penstock-block-{block[:227]}-{digest(block)}"


def code_config_map(code_digest: str) -> str:
    """Name of the immutable ConfigMap that holds inline source with this content digest."""
    return f"penstock-code-{code_digest.removeprefix('sha256:')[:40]}"


def revision(kind: str, name: str, uid: str, generation: int) -> str:
    """Name of the ControllerRevision that keeps one generation of a deployment or pool."""
    return f"{kind.lower()}-{name[:200]}-{digest(uid, length=6)}-{generation}"
