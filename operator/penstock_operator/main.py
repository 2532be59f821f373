"""The operator's process: kopf is the shell, the controller runs inside it.

`penstock-operator`, or `python -m penstock_operator.main`; settings come from the environment (`settings.Settings`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import secrets
import socket
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any

import kopf
import prometheus_client
import uvloop
from kopf._core.engines import peering

from penstock.results import urls

from . import login, logs, metrics
from . import settings as configuration
from .cluster import ApiCluster, Connection
from .controller.controller import Controller, utc_now
from .controller.leadership import Leadership
from .core.retention import Ceiling
from .handlers import low_rate
from .launch.pods import Defaults
from .reconcile.archive import Archive
from .reconcile.blocks import Blocks
from .reconcile.flowdeployments import FlowDeployments
from .reconcile.flows import Flows
from .reconcile.workpools import WorkPools
from .reconcile.workqueues import WorkQueues
from .settings import Settings

logger = logging.getLogger(__name__)

LEASE_TIMEOUT = 4.0  # seconds for an answer about the Lease: a leader has time for another try
DRAIN = 12.0  # seconds that reconciles under way have after a signal; the pod has 30 in all


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf compares bodies for handlers that we do not have; with nothing stored it compares nothing."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return None


def shell(settings: kopf.OperatorSettings) -> None:
    """kopf's settings: no Events, no annotations, no peering, no scanning, short timeouts."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = kopf.StatusProgressStorage(field="status.kopf")
    settings.queueing.idle_timeout = 1.0
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = 300
    settings.watching.reconnect_backoff = 1.0


def instance() -> str:
    """Who this process is, in Events and logs."""
    return os.environ.get("POD_NAME") or socket.gethostname()


def identity() -> str:
    """Who this process is among the operators that could hold the Lease.

    A pod's name is its own, and its containers follow each other: one that was restarted takes its Lease up again at
    once. Elsewhere two processes may share a host, so each is another.
    """
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Operator:
    """The controller, its cluster and its metrics, started and stopped by kopf."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._leadership: Leadership | None = None
        self.controller: Controller | None = None
        self.failed = asyncio.Event()
        self.crashed = False

    async def start(self, info: kopf.ConnectionInfo) -> None:
        """Connect and start to watch."""
        wanted, connection = self._settings, login.connection(info)
        agent = {"User-Agent": f"penstock-operator/{instance()}"}  # who wrote what stands in the audit log
        connection = dataclasses.replace(connection, headers={**connection.headers, **agent})
        leadership = self._leadership = await self._elect(connection)
        if leadership is None:
            client = ApiCluster(connection, metrics.observe_call)
        else:
            client = ApiCluster(connection, leadership.observe, leadership.permit)
        cluster = await self._stack.enter_async_context(client)
        defaults = Defaults(wanted.image, wanted.image_pull_policy, wanted.service_account)
        log_archives = tuple(urls.parse(url, "archive of logs") for url in wanted.log_archives)
        controller = Controller(
            cluster,
            defaults,
            namespaces=wanted.namespaces,
            instance=instance(),
            workers=wanted.workers,
            leadership=leadership,
            ceiling=Ceiling(wanted.retention_max_runs or None, wanted.retention_max_days * 86_400 or None),
            archive=Archive.at(cluster, wanted.archive) if wanted.archive else None,
            log_archives=log_archives,
            late_after=wanted.late_after_seconds,
        )
        controller.register("Flow", Flows(cluster, utc_now, controller.revisions).reconcile)
        reads = partial(controller.reads, "FlowDeployment")
        deployments = FlowDeployments(
            cluster, controller.cache, utc_now, controller.revisions, controller.schedules, reads
        )
        controller.register("FlowDeployment", deployments.reconcile)
        pools = WorkPools(cluster, defaults, utc_now, controller.worker_pods, log_archives)
        controller.register("WorkPool", pools.reconcile)
        controller.register("WorkQueue", WorkQueues(cluster, utc_now, controller.slots.selected).reconcile)
        controller.register("Block", Blocks(cluster, utc_now).reconcile)
        metrics.QUEUE_DEPTH.set_function(lambda: len(controller.agenda.queue))
        metrics.QUEUE_AGE.set_function(controller.agenda.queue.oldest_age)
        metrics.LIVE_RUNS.set_function(lambda: controller.cache.count("FlowRun"))
        metrics.SETTLED_RUNS.set_function(lambda: len(controller.settled))
        metrics.EVENTS_DROPPED.set_function(lambda: controller.events.dropped)
        metrics.WATCH_SILENCE.set_function(lambda: max(i.silence() for i in controller.informers))
        if wanted.metrics_port:
            server, _ = prometheus_client.start_http_server(wanted.metrics_port)
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)
        self.controller = controller
        self._run(controller.run(), "controller")

    async def _elect(self, connection: Connection) -> Leadership | None:
        """This process' part in the election, which has begun; None when there is none."""
        if not self._settings.lease:
            metrics.LEADER.set(1)
            return None
        namespace, name = self._settings.lease.split("/")
        client = ApiCluster(connection, metrics.observe_call, timeout=LEASE_TIMEOUT)
        cluster = await self._stack.enter_async_context(client)
        leadership = Leadership(cluster, namespace, name, identity(), now=utc_now)
        self._run(leadership.run(), "leadership")
        return leadership

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logger.error("%s ended", task.get_name(), exc_info=task.exception())
            self.crashed = True
        self.failed.set()

    def health(self) -> dict[str, float]:
        """Raises when the operator should be started anew."""
        if self.controller is None or any(task.done() for task in self._tasks):
            raise RuntimeError("the controller does not run")
        return self.controller.health()

    async def stop(self) -> None:
        """Let what is under way end, end the watches, and give the Lease back."""
        if self.controller is not None and not self.failed.is_set():
            await self.controller.drain(DRAIN)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._leadership is not None:
            await self._leadership.release()
        await self._stack.aclose()


def registry(operator: Operator) -> kopf.OperatorRegistry:
    """All that kopf calls."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def log_in(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
        return login.connection_info(settings)

    @kopf.on.startup(registry=handlers)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        shell(settings)
        await operator.start(login.connection_info(settings))

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        await operator.stop()

    @kopf.on.probe(registry=handlers, id="controller")
    async def health(**_: Any) -> dict[str, float]:
        return operator.health()

    def touch(kind: str, key: Any, version: str | None) -> None:
        if operator.controller is not None:
            operator.controller.touch(kind, key, version)

    low_rate.register(handlers, touch)
    return handlers


async def run(settings: Settings) -> bool:
    """Run until a signal (then True), or until the controller fails, which ends the process for a fresh start."""
    operator = Operator(settings)
    where: dict[str, Any] = {"namespaces": settings.namespaces} if settings.namespaces else {"clusterwide": True}
    endpoint = f"http://0.0.0.0:{settings.probe_port}/healthz" if settings.probe_port else None
    await kopf.operator(
        registry=registry(operator),
        standalone=True,
        # Or kopf asks the system for a user name, which a container's bare uid does not have.
        identity=peering.Identity(instance()),
        liveness_endpoint=endpoint,
        stop_flag=operator.failed,
        **where,
    )
    return not operator.crashed


def main() -> None:
    """Entry point."""
    try:
        settings = configuration.read()
    except configuration.InvalidSetting as error:
        sys.exit(f"error: {error}")
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if not runner.run(run(settings)):
            sys.exit(1)


if __name__ == "__main__":
    main()
