"""A worker outside of the cluster: agent and executor in one command, with the credentials of a kubeconfig.

Called by `penstock worker start` and `penstock serve`. The executor is a process in a session of its own, so that
neither Ctrl-C nor Ctrl-Z of a terminal reaches it; where it dies, another one takes its place.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..api import labels, names
from ..api.workers import WorkerFacts, WorkerType
from ..kubeconfig import Access
from .agent import Agent, serve
from .container_engine import Engine, socket_path
from .containers import Options
from .lease import Worker
from .membership import WorkerRefused, new_uid, version
from .upstream import Refused, Upstream

RESTART = 1.0  # seconds before another executor is started


class Executor:
    """The executor of this machine. `show` gets each line of its runs' output; they go to stdout when there is none."""

    def __init__(
        self,
        folder: Path,
        preload: Sequence[str],
        show: Callable[[bytes], None] | None,
        containers: Options | None = None,
    ) -> None:
        self._folder, self._preload, self._show = folder, preload, show
        self._words = ["penstock.worker.executor"]
        if containers is not None:
            self._words = ["penstock.worker.containers", "--options", containers.argument()]
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start it, in the place of one that has ended."""
        if self._process is not None:
            await self._wait()
            await asyncio.sleep(RESTART)
        ours, theirs = socket.socketpair()
        environment = {
            **os.environ,
            labels.ENV_WORKER_DIR: str(self._folder),
            labels.ENV_WORKER_PRELOAD: ",".join(self._preload),
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._words, "--agent", str(theirs.fileno())],
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._show else None,
                start_new_session=True,
            )
        if self._show is not None:
            self._reading = asyncio.create_task(self._read(self._show))
        return await asyncio.open_unix_connection(sock=ours)

    async def _read(self, show: Callable[[bytes], None]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        reader = asyncio.StreamReader(limit=1024 * 1024)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout)
        while line := await reader.readline():
            show(line.rstrip(b"\n"))

    async def _wait(self) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)
        if self._reading is not None:
            await self._reading

    async def close(self) -> None:
        """See it end, which it does when its agent has."""
        if self._process is not None:
            await self._wait()


async def check_pool(upstream: Upstream, namespace: str, pool: str) -> None:
    """Raise WorkerRefused where there is no such pool, or one that has no workers."""
    path = f"/apis/{labels.API_VERSION}/namespaces/{namespace}/workpools/{pool}"
    try:
        found = await upstream.json("GET", path)
    except Refused as error:
        if error.status == 404:
            raise WorkerRefused(
                f"there is no work pool {pool} in namespace {namespace}: "
                f"make it first, with penstock pools create {pool} --type Process"
            ) from error
        raise WorkerRefused(f"work pool {pool} in namespace {namespace}: {error}") from error
    if found["spec"]["type"] != "Process":
        raise WorkerRefused(
            f"work pool {pool} is of type {found['spec']['type']}: workers are of pools of type Process"
        )


def default_name() -> str:
    """A name for a worker of this machine that nobody else has."""
    return f"{names.dns_label(platform.node().partition('.')[0], 40) or 'worker'}-{secrets.token_hex(3)}"


async def work(
    access: Callable[[], Access],
    namespace: str,
    pool: str,
    *,
    name: str | None = None,
    slots: int = 1,
    preload: Sequence[str] = (),
    containers: Options | None = None,
    grace: float = 30.0,
    show: Callable[[bytes], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Be a worker of `pool` until SIGTERM or SIGINT; with `containers` each run is one, by Docker or Podman.

    Raises WorkerRefused, EngineError, and Unreachable at the start.
    """
    if containers is not None:
        async with Engine(socket_path()) as engine:
            await engine.is_rootless()
    upstream = Upstream(access)
    await check_pool(upstream, namespace, pool)
    type_: WorkerType = "process" if containers is None else "docker"
    facts = WorkerFacts(uid=new_uid(), slots=slots, version=version(), type=type_)
    worker = Worker(name or default_name(), namespace, pool, facts)
    folder = Path(tempfile.mkdtemp(prefix="penstock-"))
    executor = Executor(folder, preload, show, containers)
    agent = Agent(worker, upstream, executor.connect, folder, grace=grace, say=say)
    if say is not None:
        say(f"worker {worker.name} of pool {pool} in namespace {namespace}, {slots} run{'s'[: slots > 1]} at once")
    try:
        await serve(agent)
    finally:
        await executor.close()
        shutil.rmtree(folder, ignore_errors=True)
