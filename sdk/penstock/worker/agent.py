"""The part of a worker that holds the credentials (`python -m penstock.worker.agent`): hears of the runs that are given
to it, has the executor make a process for each, speaks for them, and tells how they ended.

One thread, one asyncio loop. What is to be done for a run, `assignments` decides; what a run may ask, `permits`. It may
be killed at any moment: the next one finds the executor's processes again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..api import labels
from ..api.delivery import given_files
from ..api.workers import GRACE_SECONDS
from ..errors import PenstockError
from ..kubeconfig import access
from . import assignments, processes
from .assignments import Action, Do, Identity
from .ends import exited
from .given import GivenFiles
from .inside import in_pod
from .lease import Worker
from .membership import LAST_WORDS, Membership, WorkerRefused, new_uid
from .messages import Garbled, Lines, Message, encoded, process_id
from .permits import Holder
from .processes import Process
from .proxy import Proxy
from .upstream import JSON_PATCH, Refused, Unreachable, Upstream

Body = dict[str, Any]
GRACE = float(GRACE_SECONDS)
LINGER = 5.0  # seconds in which a process ends by itself after its run has
ECHO = 0.3  # seconds in which a run's own last word should have come back, before it is asked for

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Agent:
    """A worker's agent. `connect` gives the connection to the executor, each time that it is wanted anew."""

    def __init__(
        self,
        worker: Worker,
        upstream: Upstream,
        connect: Connect,
        folder: Path,
        *,
        grace: float = 0.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._upstream, self._connect = upstream, connect
        self._runs_folder = folder / "r"
        self._grace, self._tell = grace, say or _tell
        self._executor: asyncio.StreamWriter | None = None
        self._ready, self._changed = asyncio.Event(), asyncio.Condition()
        self._stopping, self._now = asyncio.Event(), asyncio.Event()
        self._membership = Membership(worker, upstream, self._stopping, self._say_contact, self._tell)
        self._processes: dict[str, Process] = {}
        self._over: dict[str, Message] = {}  # processes whose end is told, or about to be, by id
        self._seen: dict[str, Body] = {}  # runs that name this worker, by uid
        self._given = GivenFiles(upstream)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failure: Exception | None = None

    @property
    def _worker(self) -> Worker:
        return self._membership.worker

    @property
    def _me(self) -> Identity:
        facts = self._worker.facts
        return Identity(self._worker.name, facts.uid, facts.pod.name if facts.pod else self._worker.name)

    @property
    def _runs(self) -> str:
        return f"/apis/{labels.API_VERSION}/namespaces/{self._worker.namespace}/flowruns"

    async def run(self) -> None:
        """Be a worker until `stop`, or until somebody wants it to drain and its last run has ended.

        Raises WorkerRefused where it cannot be one.
        """
        self._runs_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spawn(self._follow_executor())
        try:
            await self._membership.or_stopped(self._ready.wait())
            if not self._stopping.is_set():
                await self._membership.read_pool()
                await self._membership.begin()
                self._following = self._spawn(self._follow_runs())
                self._spawn(self._stay())
                self._spawn(self._membership.tell_news())
                await self._stopping.wait()
            await self._drain()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._upstream.close()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Take no more runs and end when the last one has; asked again, end them now."""
        if self._stopping.is_set():
            self._now.set()
        self._stopping.set()

    # The executor.

    async def _follow_executor(self) -> None:
        while True:
            try:
                reader, writer = await self._connect()
            except OSError:
                await asyncio.sleep(0.1)
                continue
            lines = Lines()
            try:
                while data := await reader.read(65_536):
                    for message in lines.feed(data):
                        if message["said"] == "hello":
                            self._executor = writer
                        await self._heard(message)
            except (OSError, Garbled) as error:
                self._tell(f"the executor is not understood: {error}")
            finally:
                self._executor = None
                writer.close()

    async def _heard(self, message: Message) -> None:
        said = message["said"]
        if said == "hello":
            self._membership.is_(preloaded=message["preloaded"])
            there = {known["id"]: known for known in message["running"]}
            for id_ in [id_ for id_ in self._processes if id_ not in there]:
                await self._ended(self._processes[id_], {"why": "executor"})
            for known in there.values():
                await self._found(known)
            self._say_contact()
            self._ready.set()
        elif said == "ended" and message["id"] in self._processes:
            await self._ended(self._processes[message["id"]], message)
        elif said == "refused" and message["id"] in self._processes:
            await self._ended(self._processes[message["id"]], {"why": "refused", "message": message["message"]})

    async def _found(self, known: Message) -> None:
        """A process of an agent before this one: speak for it; whether it should be there, its run says."""
        if known["id"] in self._processes:
            return
        folder = processes.folder_of(self._runs_folder, known["uid"], known["attempt"])
        process = Process(known["run"], known["uid"], known["attempt"], folder)
        me = self._me
        await self._open(
            process, Holder(self._worker.namespace, process.run, process.uid, process.attempt, me.uid, me.pod)
        )
        self._processes[process.id] = process

    def _say(self, message: Message) -> None:
        if self._executor is not None:
            self._executor.write(encoded(message))

    async def _open(self, process: Process, holder: Holder) -> None:
        process.proxy = Proxy(self._upstream, holder, str(process.folder / "api"))
        await process.proxy.open()

    # Runs.

    async def _follow_runs(self) -> None:
        selector = f"status.worker.name={self._worker.name},status.settled!=true"
        wait = 0.2
        while True:
            try:
                listed = await self._upstream.json("GET", self._runs, fieldSelector=selector)
                here = {body["metadata"]["uid"]: body for body in listed["items"]}
                for uid in {*here, *self._seen, *(process.uid for process in self._processes.values())}:
                    self._look(uid, here.get(uid))
                version, wait = listed["metadata"]["resourceVersion"], 0.2
                while True:
                    async for kind, body in self._upstream.watch(self._runs, selector, version):
                        version = body["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK":
                            self._look(body["metadata"]["uid"], None if kind == "DELETED" else body)
            except (Unreachable, Refused) as error:
                if not (isinstance(error, Refused) and error.status == 410):
                    if wait > 1:
                        self._tell(f"runs cannot be watched: {error}")
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, 5.0)

    def _look(self, uid: str, run: Body | None) -> None:
        """A run has changed; None: it is not there, or not this worker's any more."""
        if run is None:
            last = self._seen.pop(uid, None)
            for process in self._processes.values():
                if process.uid == uid:
                    self._membership.deleted(process.id, process.run, uid, last)
        else:
            self._seen[uid] = run
        running = [process.attempt for process in self._processes.values() if process.uid == uid]
        over = [message["attempt"] for message in self._over.values() if message["uid"] == uid]
        for action in assignments.decide(run, uid, self._me, running, over):
            self._do(action, uid, run)
        if run is None:
            self._over = {id_: message for id_, message in self._over.items() if message["uid"] != uid}
        self._spawn(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _do(self, action: Action, uid: str, run: Body | None) -> None:
        id_ = process_id(uid, action.attempt)
        if action.do is Do.END or action.do is Do.LINGERS:
            process = self._processes[id_]
            if not process.ending:
                process.ending = True
                self._spawn(self._end(process, LINGER if action.do is Do.LINGERS else 0.0))
            return
        assert run is not None
        folder = processes.folder_of(self._runs_folder, uid, action.attempt)
        process = Process(run["metadata"]["name"], uid, action.attempt, folder)
        if action.do is Do.START and not self._stopping.is_set():
            self._processes[id_] = process
            self._spawn(self._start(process, run))
        else:
            why = "stopped" if action.do is Do.START else "lost"
            self._over[id_] = {"uid": uid, "attempt": action.attempt}
            self._spawn(self._report(process, {"why": why}))

    async def _start(self, process: Process, run: Body) -> None:
        try:
            namespace, wanted = self._worker.namespace, given_files(run["status"]["resolved"])
            files = {file: await self._given.content(namespace, file) for file in wanted}
            processes.prepare(process, files)
            await self._open(process, processes.holder(run, process.attempt, namespace, self._me))
        except (OSError, Unreachable, Refused) as error:
            await self._ended(process, {"why": "refused", "message": str(error)})
            return
        env = processes.environment(run, process, self._me, files)
        about = {"id": process.id, "run": process.run, "uid": process.uid, "attempt": process.attempt}
        if self._executor is None or process.ending:  # meanwhile
            await self._ended(process, {"why": "lost" if process.ending else "executor"})
            return
        image = run["status"]["resolved"].get("image") or ""  # which means something where runs are containers
        self._say({"do": "start", **about, "env": env, "folder": str(process.folder), "image": image})

    async def _end(self, process: Process, after: float) -> None:
        """SIGTERM after so long, if it is still there."""
        await asyncio.sleep(after)
        self._say({"do": "end", "id": process.id, "grace": GRACE})

    async def _ended(self, process: Process, message: Message) -> None:
        if self._processes.pop(process.id, None) is None:
            return
        self._over[process.id] = {"uid": process.uid, "attempt": process.attempt}
        self._membership.ended(process.id)
        if process.proxy is not None:
            await process.proxy.close()
        process.remove()
        await self._notify()
        why = "stopped" if process.stopped and not message.get("why") else message.get("why")
        self._spawn(self._report(process, {**message, "why": why}))

    async def _report(self, process: Process, message: Message) -> None:
        """Tell how a process ended, where its run has no end and is still this worker's. It is tried until it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ECHO), self._changed:
                await self._changed.wait_for(lambda: self._told(process))
            return
        path = f"{self._runs}/{process.run}"
        told = exited(process.attempt, message)
        me = self._me
        wait = 0.2
        while me == self._me:
            try:
                run = await self._upstream.json("GET", path)
                if run["metadata"]["uid"] != process.uid or assignments.over(run, process.attempt, me):
                    return
                tests = {"/metadata/uid": process.uid, "/status/worker/uid": me.uid, "/status/attempt": process.attempt}
                ops = [{"op": "test", "path": path_, "value": value} for path_, value in tests.items()]
                ops.append({"op": "add", "path": "/status/worker/exited", "value": told})
                await self._upstream.json("PATCH", f"{path}/status", ops, JSON_PATCH)
                self._tell(f"run {process.run}: {told['message']}")
                return
            except Refused as error:
                if error.status == 404:
                    return
                self._tell(f"the end of run {process.run} is not taken: {error}")
            except Unreachable:
                pass
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)

    def _told(self, process: Process) -> bool:
        run = self._seen.get(process.uid)
        return run is None or assignments.over(run, process.attempt, self._me)

    # Its place in the pool.

    async def _stay(self) -> None:
        async for renewal in self._membership.renewals():
            if renewal.cut:
                self._following.cancel()
                self._following = self._spawn(self._follow_runs())
            if renewal.lost:
                await self._become_another(renewal.silent)
            elif renewal.draining and self._worker.facts.pod is None and not self._stopping.is_set():
                self._tell("this worker is to end when its last run has")
                self._grace = float("inf")
                self.stop()

    def _say_contact(self) -> None:
        self._say({"do": "contact", "within": self._membership.within})

    async def _become_another(self, silent: float) -> None:
        """What this worker was counts as lost: end what it has, and begin anew."""
        if self._worker.facts.pod is None:
            self._tell(f"this worker was out of contact for {silent:.0f} s: its runs are ended, and it begins anew")
            for process in self._processes.values():
                process.ending = True
                self._say({"do": "end", "id": process.id, "grace": GRACE / 4})
            async with self._changed:
                await self._changed.wait_for(lambda: not self._processes)
            self._membership.is_(uid=new_uid())
            self._over.clear()
        try:
            await self._membership.begin()
        except WorkerRefused as error:
            self.failure = error
            self._now.set()
            self.stop()
            return
        for uid, run in list(self._seen.items()):
            self._look(uid, run)

    # The end.

    async def _drain(self) -> None:
        """End the runs, and then the worker; asked again, or after the grace, they are told to."""
        await self._membership.drain()
        if self._processes and self._grace:
            left = "until they have ended" if self._grace == float("inf") else f"{self._grace:.0f} s"
            names = ", ".join(process.run for process in self._processes.values())
            self._tell(f"no more runs are taken; those that go on have {left}: {names}")
            done, now = asyncio.create_task(self._all_ended()), asyncio.create_task(self._now.wait())
            limit = None if self._grace == float("inf") else self._grace
            await asyncio.wait((done, now), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for task in (done, now):
                task.cancel()
        for process in self._processes.values():
            process.ending = process.stopped = True
            self._say({"do": "end", "id": process.id, "grace": GRACE / 2})
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE / 2 + LAST_WORDS):
                await self._all_ended()
                reports = [task for task in self._tasks if task.get_name() == "_report"]
                if reports:
                    await asyncio.wait(reports)
        await self._membership.leave()
        self._say({"do": "quit", "grace": 1.0})
        if self._executor is not None:
            with suppress(OSError):
                await self._executor.drain()

    async def _all_ended(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._processes)

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine, name=coroutine.__name__)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = self.failure or error if isinstance(error, Exception) else RuntimeError(repr(error))
            self._now.set()
            self.stop()


def _tell(text: str) -> None:
    print(f"penstock.worker: {text}", file=sys.stderr, flush=True)


async def serve(agent: Agent) -> None:
    """Run an agent that SIGTERM and SIGINT stop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    try:
        await agent.run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def main() -> int:
    """The agent of a worker's pod; the exit code."""
    try:
        worker, folder, grace = in_pod()
    except WorkerRefused as error:
        _tell(str(error))
        return 2
    path = str(folder / "executor")

    async def run() -> None:
        upstream = Upstream(access)
        await serve(Agent(worker, upstream, lambda: asyncio.open_unix_connection(path), folder, grace=grace))

    try:
        asyncio.run(run())
    except PenstockError as error:
        _tell(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
