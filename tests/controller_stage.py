"""A stage whose operator is a whole controller, on a cluster in memory, for tests of whatever the controller wires."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from memory_cluster import PodLog
from penstock.archive.reading import Archive
from penstock.results.storage import open_storage
from penstock.results.urls import parse
from penstock_operator.cluster import NODES
from penstock_operator.controller.controller import Controller
from penstock_operator.controller.leadership import Leadership
from penstock_operator.launch.pods import Defaults
from penstock_operator.reconcile.flowdeployments import FlowDeployments
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, Stage, at_once

Json = dict[str, Any]
PATIENCE = 20.0
DEFAULTS = Defaults("registry.example/penstock:1")
NODE: Json = {"metadata": {"name": "node-1"}, "spec": {}}
THING = Key(NAMESPACE, "thing")


class Play:
    """A stage whose operator is a whole controller."""

    def __init__(self, **stage: Any) -> None:
        self.stage = Stage(**stage)
        self.cluster, self.clock = self.stage.cluster, self.stage.clock
        at_once(self.cluster.create(NODES, None, NODE))

    def begin(self, **options: Any) -> Controller:
        options = {"clock": self.clock, **options}
        self.controller = Controller(self.cluster, DEFAULTS, **options)
        return self.controller

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Controller]:
        """An operator process; leaving it kills it."""
        controller = self.begin(**options)
        task = asyncio.create_task(controller.run())
        try:
            for informer in controller.informers:
                await asyncio.wait_for(informer.synced.wait(), PATIENCE)
            yield controller
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object], what: str = "it") -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(f"{what} did not happen: {self.cluster.kinds('FlowRun')}") from None

    async def state(self, type_: str, reason: str | None = None, run: str = "run") -> None:
        """The run enters a state."""

        def entered() -> bool:
            found = self.stage.state(run)
            return found is not None and found[0] == type_ and reason in (None, found[1])

        await self.until(entered, f"{type_} {reason}")

    async def settled(self, run: str = "run") -> None:
        await self.until(lambda: self.stage.run(run).get("settled"), "its settling")

    async def quiet(self) -> None:
        """Nothing is left to do for now."""
        still = 0
        async with asyncio.timeout(PATIENCE):
            while still < 30:
                still = still + 1 if self.idle() else 0
                await asyncio.sleep(0)

    def idle(self) -> bool:
        """Whether the operator has nothing to do at this moment."""
        queue = self.controller.agenda.queue
        return not (len(queue) or queue.working)

    async def time_passes(self, seconds: float) -> None:
        """The clock goes on, and what is due comes."""
        self.clock.advance(seconds)
        self.controller.agenda.due.fire(self.clock())
        await self.quiet()

    async def launched(self) -> None:
        self.stage.submit()
        await self.until(lambda: self.stage.get("Pod", "run-1"), "the launch")

    async def claimed(self) -> None:
        await self.launched()
        self.stage.start_pod()
        self.stage.claim()
        await self.state("Running")


def played(scenario: Callable[[Play], Awaitable[None]], **stage: Any) -> None:
    """Play a scenario with an operator that runs from the beginning."""

    async def whole() -> None:
        play = Play(**stage)
        async with play.running():
            await scenario(play)

    asyncio.run(whole())


def recorded(
    play: Play, answers: list[Requeue | Exception | None], during: Callable[[], object] | None = None
) -> list[Key]:
    """Have keys of a kind of the test's own reconciled: the keys that came; the last answer stands for all others."""
    came: list[Key] = []

    async def reconcile(key: Key) -> Requeue | None:
        came.append(key)
        if during and len(came) == 1:
            during()
        answer = answers[min(len(came), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    play.controller.register("Thing", reconcile)
    return came


async def ended(play: Play) -> None:
    """A run completes at six, and its pod with it."""
    await play.claimed()
    play.stage.enter("Completed", "Completed")
    play.stage.end_pod()
    await play.settled()
    await play.quiet()


class Office(Leadership):
    """The Lease, on the stage's cluster; a test says when to look at it."""

    def __init__(self, play: Play, name: str = "me") -> None:
        self.time = 0.0
        super().__init__(play.cluster, "system", "operator", name, now=play.clock, clock=lambda: self.time)

    async def look(self, seconds: float = 0.0) -> None:
        self.time += seconds
        await self._once()
        self.looked.set()


@asynccontextmanager
async def standby(play: Play | None = None, **options: Any) -> AsyncIterator[tuple[Play, Office]]:
    """An operator that stands by, for another holds the Lease."""
    play = play or Play()
    await Office(play, "another").look()
    office = Office(play)
    await office.look()
    async with play.running(leadership=office, **options) as controller:
        deployments = FlowDeployments(
            play.cluster, controller.cache, play.clock, controller.revisions, controller.schedules
        )
        controller.register("FlowDeployment", deployments.reconcile)
        play.cluster.writes.clear()
        yield play, office


class Kept:
    """A stage whose pool has its logs kept in memory, and what it needs for that."""

    def __init__(self, pool_type: str = "Pod") -> None:
        url = f"memory://{uuid.uuid4().hex}"
        place = parse(url)
        self.storage = open_storage(place)
        self.play = Play(
            pool_type=pool_type, pool={"podTTLSecondsAfterFinished": 60, "logs": {"archive": {"url": url}}}
        )
        self.play.cluster.new_uid = "0a1b2c3d-0000-4000-8000-{:012x}".format  # as the API server's are
        self.places = (place,)

    def says(self, *chunks: bytes, pod: str = "run-1") -> PodLog:
        log = PodLog(*chunks)
        self.play.cluster.pod_logs[(NAMESPACE, pod)] = log
        return log

    def archived(self) -> list[str]:
        archive = Archive(self.storage)
        found = archive.logs(NAMESPACE, "run")
        return [line["text"] for address in found for line in archive.log(address)]


def kept(scenario: Callable[[Kept, Play], Awaitable[None]], pool_type: str = "Pod") -> None:
    async def whole() -> None:
        scene = Kept(pool_type)
        async with scene.play.running(log_archives=scene.places):
            await scenario(scene, scene.play)

    asyncio.run(whole())
