"""The current flow run: who and what it is, what it was given, where it comes from, and where it is to be seen.

`job_variables` are the changes to the pod that the run asked for (`spec.pod`); `ui_url` needs the setting of that name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..api import labels
from ..context import FLOW
from ..settings import get_current_settings
from . import read

if TYPE_CHECKING:
    from datetime import datetime

    from ..engine.runs import FlowRun


def _run() -> FlowRun | None:
    context = FLOW.get()
    return None if context is None else context.run


def _of_run(name: str, default: Any = None) -> Any:
    run = _run()
    return default if run is None else getattr(run, name)


def _of_info(name: str, default: Any = None) -> Any:
    run = _run()
    return default if run is None else getattr(run.info, name)


def _scheduled() -> datetime:
    from datetime import UTC, datetime

    return _of_info("scheduled_start_time") or _of_run("start_time") or datetime.now(UTC)


def url_of_pods_run(host: str | None) -> str | None:
    """Where the API server has the run of this pod; a subflow is seen there too. None outside of pods."""
    name, namespace = os.environ.get(labels.ENV_RUN), os.environ.get(labels.ENV_NAMESPACE)
    if not (host and name and namespace):
        return None
    host = f"[{host}]" if ":" in host else host
    port = os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
    return f"https://{host}:{port}/apis/{labels.API_VERSION}/namespaces/{namespace}/flowruns/{name}"


def ui_url_of_pods_run() -> str | None:
    """Where the web interface shows the run of this pod; None outside of pods, and where nothing says where it is."""
    base, name = get_current_settings().ui_url, os.environ.get(labels.ENV_RUN)
    namespace = os.environ.get(labels.ENV_NAMESPACE)
    return f"{base.rstrip('/')}/{namespace}/flowruns/{name}" if base and name and namespace else None


_FACTS = {
    "id": lambda: _of_run("id"),
    "name": lambda: _of_run("name"),
    "namespace": lambda: _of_info("namespace"),
    "flow_name": lambda: _of_run("flow_name"),
    "flow_version": lambda: None if (context := FLOW.get()) is None else context.flow.version,
    "parameters": lambda: dict(_of_run("parameters", {})),
    "tags": lambda: sorted(_of_run("tags", ())),
    "labels": lambda: dict(_of_info("labels", {})),
    "run_count": lambda: _of_run("run_count", 0),
    "attempt": lambda: _of_info("attempt", 0),
    "scheduled_start_time": _scheduled,
    "parent_flow_run_id": lambda: _of_info("parent_id"),
    "parent_flow_run_name": lambda: _of_info("parent_name"),
    "root_flow_run_id": lambda: _of_info("root_id") or _of_run("id"),
    "parent_deployment_id": lambda: _of_info("parent_deployment_id"),
    "job_variables": lambda: dict(_of_info("job_variables", {})),
    "api_url": lambda: url_of_pods_run(os.environ.get("KUBERNETES_SERVICE_HOST")),
    "ui_url": lambda: ui_url_of_pods_run(),
}


def __getattr__(name: str) -> Any:
    return read(__name__, _FACTS, name)


def __dir__() -> list[str]:
    return sorted(_FACTS)
