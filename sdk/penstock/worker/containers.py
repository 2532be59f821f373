"""The executor of a worker whose runs are containers (`python -m penstock.worker.containers`): one for each run, by
Docker or Podman.

It speaks to the agent as `executor` does, and like it holds no credentials and knows nothing of whose run it is.
A container sees the folder of its run and nothing else of this machine: in it is the socket by which it speaks to the
API server, and one that it watches, so that it ends with this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ..api import labels, names
from . import contained, container_engine
from .container_engine import Engine, EngineError, Pull, socket_path
from .executor import GRACE, clock
from .messages import Garbled, Lines, Message, encoded
from .output import ERR, OUT, Tagged, ended

OWNER = "penstock.dev/executor"  # label of a container: the process whose it is
LAST_OUTPUT = 5.0  # seconds that the output of an ended container is waited for
TICK = 0.5  # seconds between two looks at the clock
KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Options:
    """How containers are made, as the command line says."""

    image: str = ""
    pull: Pull = "missing"
    network: str = ""
    volumes: list[str] = field(default_factory=list)
    memory: int = 0
    cpus: float = 0.0

    def argument(self) -> str:
        """As an argument of the executor's command."""
        return json.dumps(asdict(self))


class Container:
    """A run's container, from before it is made until it is removed."""

    def __init__(self, message: Message) -> None:
        self.id, self.folder = message["id"], message["folder"]
        self.run, self.uid, self.attempt = message["run"], message["uid"], message["attempt"]
        self.engine_id = ""
        self.kill_at: float | None = None
        self.pulling: asyncio.Task[None] | None = None
        self.killing: asyncio.Task[None] | None = None
        self.why = ""
        self.lives: set[asyncio.StreamWriter] = set()

    @property
    def name(self) -> str:
        """For people; an attempt has one container on a machine."""
        return f"penstock-{self.run[:40]}-{self.attempt}-{names.digest(self.uid, str(self.attempt))}"

    def let_go(self) -> None:
        """Close what it watches, upon which it ends by itself."""
        for writer in self.lives:
            writer.close()


class Containers:
    """The executor's loop."""

    def __init__(self, engine: Engine, options: Options, user: str) -> None:
        self._engine, self._options, self._user = engine, options, user
        self._containers: dict[str, Container] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent: asyncio.StreamWriter | None = None
        self._within, self._heard_at = 0.0, clock()
        self._quitting = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the agent until it is gone, and everything has ended."""
        self._agent, lines = writer, Lines()
        await self.sweep()
        self._say({"said": "hello", "running": [], "preloaded": []})
        watch = asyncio.create_task(self._watch_clock())
        try:
            while data := await reader.read(65_536):
                for message in lines.feed(data):
                    self._obey(message)
        except (OSError, Garbled, KeyError, TypeError) as error:
            _tell(f"the agent is not understood: {error!r}")
        self._quit(GRACE / 2)
        while self._tasks:
            await asyncio.wait(self._tasks)
        watch.cancel()

    async def sweep(self) -> None:
        """Remove what executors have left behind that are gone, of this worker or of others on this machine."""
        for id_, owner in await self._engine.labelled(OWNER):
            if _is_gone(owner):
                _tell(f"container {id_[:12]} is removed: its worker is gone")
                await self._engine.remove(id_)

    def _obey(self, message: Message) -> None:
        do = message["do"]
        if do == "start" and message["id"] not in self._containers:
            container = self._containers[message["id"]] = Container(message)
            self._spawn(self._live(container, message))
        elif do == "end" and message["id"] in self._containers:
            self._end(self._containers[message["id"]], float(message.get("grace", GRACE)))
        elif do == "contact":
            self._heard_at, self._within = clock(), float(message["within"])
        elif do == "quit":
            self._quit(float(message.get("grace", GRACE)))

    def _quit(self, grace: float) -> None:
        self._quitting = True
        for container in self._containers.values():
            self._end(container, grace)

    def _end(self, container: Container, grace: float, why: str = "") -> None:
        """SIGTERM now, SIGKILL later; a second call can only make it sooner."""
        container.why = container.why or why
        at = clock() + grace
        if container.kill_at is None and container.pulling is not None:
            container.pulling.cancel()
        if container.kill_at is None and container.engine_id:
            self._kill(container, "SIGTERM")
        container.kill_at = at if container.kill_at is None else min(at, container.kill_at)

    def _kill(self, container: Container, name: str) -> None:
        async def kill() -> None:
            with suppress(EngineError):
                await self._engine.kill(container.engine_id, name)

        container.killing = self._spawn(kill())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that the end of this process waits for."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _watch_clock(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            at = clock()
            unasked = [container for container in self._containers.values() if container.kill_at is None]
            if self._within and at - self._heard_at > self._within and unasked:
                _tell(f"no contact with the API server for {self._within:.0f} s: the runs of this worker are ended")
                for container in unasked:
                    self._end(container, self._within / 4, "no contact")
            for container in self._containers.values():
                late = container.kill_at is not None and at >= container.kill_at
                if late and container.engine_id and (container.killing is None or container.killing.done()):
                    self._kill(container, "SIGKILL")  # again, until it is gone
                    container.let_go()

    # One container.

    async def _live(self, container: Container, message: Message) -> None:
        life: asyncio.Server | None = None
        code, started = None, False
        try:
            life = await asyncio.start_unix_server(lambda r, w: self._hold(container, r, w), f"{container.folder}/life")
            if self._quitting:
                raise EngineError("the executor is ending")
            image = message.get("image") or self._options.image
            if not image:
                raise EngineError(
                    "the run names no image: set one on its flow, deployment or pool, or start the worker with --image"
                )
            container.pulling = asyncio.create_task(self._engine.have_image(image, self._options.pull))
            with suppress(asyncio.CancelledError):
                await container.pulling
            if container.kill_at is None:
                container.engine_id = await self._make(container, image, message["env"])
            if container.kill_at is not None:  # meanwhile
                code = KILLED
            else:
                await self._engine.start(container.engine_id)
                started = True
                self._say({"said": "started", "id": container.id, "pid": 0})
                code = await self._last(container)
        except (EngineError, OSError) as error:
            if started:
                _tell(f"run {container.run}: {error}")
                container.let_go()  # the engine cannot be asked to end it, and somebody may have the run next
                await asyncio.sleep(contained.LAST_SECONDS + 1)
                code = KILLED
            else:
                self._say({"said": "refused", "id": container.id, "message": str(error)})
        finally:
            if life is not None:
                life.close()
            container.let_go()
            if container.engine_id:
                with suppress(EngineError):
                    await self._engine.remove(container.engine_id)
            del self._containers[container.id]
        if code is not None:
            _write(ended(container.run, container.uid, container.attempt, code, time.time()))
            self._say({"said": "ended", "id": container.id, "exitCode": code, "why": container.why})

    async def _make(self, container: Container, image: str, told: Mapping[str, str]) -> str:
        env = {**told, contained.ENV_LIFE: f"{container.folder}/life"}
        binds = [f"{container.folder}:{container.folder}", *self._options.volumes]
        host: dict[str, Any] = {
            "Binds": binds,
            "LogConfig": {"Type": "json-file"},
            "CapDrop": ["ALL"],  # as pods of runs have none
            "SecurityOpt": ["no-new-privileges"],
        }
        if self._options.network:
            host["NetworkMode"] = self._options.network
        if self._options.memory:
            host |= {"Memory": self._options.memory, "MemorySwap": self._options.memory}
        if self._options.cpus:
            host["NanoCpus"] = int(self._options.cpus * 1e9)
        body = {
            "Image": image,
            "Entrypoint": ["python3", "-m", "penstock.worker.contained"],
            "Cmd": [],
            "Env": [f"{name}={value}" for name, value in env.items()],
            "WorkingDir": container.folder,
            "User": self._user,
            "Labels": {
                OWNER: owner(),
                labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
                labels.RUN: container.run,
                labels.ATTEMPT: str(container.attempt),
            },
            "HostConfig": host,
        }
        return await self._engine.create(container.name, body)

    async def _last(self, container: Container) -> int:
        """The exit code, once it has ended and its output is written."""
        output = asyncio.create_task(self._pass_output(container))
        try:
            code = await self._engine.wait(container.engine_id)
            with suppress(TimeoutError):
                await asyncio.wait_for(output, LAST_OUTPUT)
        finally:
            output.cancel()
        if (
            code == KILLED
            and container.kill_at is None
            and await self._engine.was_killed_for_memory(container.engine_id)
        ):
            container.why = "oom"
        return code

    async def _pass_output(self, container: Container) -> None:
        streams = {
            number: Tagged(name, container.run, container.uid, container.attempt)
            for number, name in ((container_engine.OUT, OUT), (container_engine.ERR, ERR))
        }
        try:
            async for number, data in self._engine.output(container.engine_id):
                if number in streams:
                    _write(b"".join(streams[number].feed(data, time.time())))
        except EngineError as error:
            _tell(f"run {container.run}: {error}")
        for stream in streams.values():
            _write(b"".join(stream.close(time.time())))

    async def _hold(self, container: Container, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The other end of the socket that the container watches."""
        container.lives.add(writer)
        with suppress(OSError):
            while said := await reader.read(64):
                if said == contained.OOM:
                    container.why = container.why or "oom"
        container.lives.discard(writer)
        writer.close()

    def _say(self, message: Message) -> None:
        if self._agent is not None and not self._agent.is_closing():
            self._agent.write(encoded(message))


def owner() -> str:
    """This process, so that it can be told from one that has its pid later, or in another namespace of pids."""
    return f"{_pid_namespace()}.{os.getpid()}.{_started(os.getpid())}"


def _is_gone(owner: str) -> bool:
    """Whether the process is no more; what cannot be seen from here is left alone."""
    namespace, _, rest = owner.partition(".")
    pid, _, started = rest.partition(".")
    return namespace == _pid_namespace() and pid.isdigit() and _started(int(pid)) != started


def _pid_namespace() -> str:
    with suppress(OSError):
        return "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))  # noqa: PTH115
    return "0"


def _started(pid: int) -> str:
    """When the process began, by the kernel's ticks; empty for none."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"


def _write(data: bytes) -> None:
    with suppress(OSError):  # nobody reads it any more
        while data:
            data = data[os.write(1, data) :]


def _tell(text: str) -> None:
    print(f"penstock.worker: {text}", file=sys.stderr, flush=True)


async def _serve(agent: socket.socket, options: Options) -> None:
    async with Engine(socket_path()) as engine:
        user = "0:0" if await engine.is_rootless() else f"{os.getuid()}:{os.getgid()}"
        reader, writer = await asyncio.open_unix_connection(sock=agent)
        await Containers(engine, options, user).serve(reader, writer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the agent; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m penstock.worker.containers", description=__doc__)
    parser.add_argument("--options", required=True, help="How containers are made, as JSON.")
    parser.add_argument("--agent", type=int, required=True, help="File descriptor of the agent's socket.")
    given = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends when its agent has, which gives the runs their time
        signal.signal(number, signal.SIG_IGN)
    try:
        asyncio.run(_serve(socket.socket(fileno=given.agent), Options(**json.loads(given.options))))
    except EngineError as error:
        _tell(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
