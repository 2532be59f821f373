"""An informer tells of every object that is, changed or is no more, whatever becomes of its watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_cluster import MemoryCluster
from penstock_operator.cluster import (
    CONFIG_MAPS,
    ApiError,
    Expired,
    Forbidden,
    Page,
    ResourceType,
    Unavailable,
    WatchEvent,
)
from penstock_operator.controller import informer as module
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.informer import Informer, Selection, gone_since, ref
from penstock_operator.reconcile.sources import Key

Json = dict[str, Any]
PATIENCE = 20.0
AWAY = Unavailable(503, "", "the server is away")


class Server(MemoryCluster):
    """A cluster whose next LISTs and watches fail as a test wants, and which counts them.

    An entry of `lists` or `watches` is raised, or called if it can be; None lets the request through.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[ApiError | Callable[[], object] | None] = []
        self.watches: list[ApiError | Callable[[], object] | None] = []
        self.asked: list[str] = []
        self.page_size = 500

    async def list_pages(self, resource: ResourceType, namespace: str | None = None, **how: Any) -> AsyncIterator[Page]:
        self.asked.append("LIST")
        self._disturb(self.lists)
        async for page in super().list_pages(resource, namespace, **{**how, "limit": self.page_size}):
            yield page
            self._disturb(self.lists)

    async def watch(  # type: ignore[override]
        self, resource: ResourceType, namespace: str | None = None, **how: Any
    ) -> AsyncIterator[WatchEvent]:
        self.asked.append(f"WATCH {how['resource_version']}")
        self._disturb(self.watches)
        async for event in super().watch(resource, namespace, **how):
            yield event

    @staticmethod
    def _disturb(script: list[ApiError | Callable[[], object] | None]) -> None:
        step = script.pop(0) if script else None
        if isinstance(step, ApiError):
            raise step
        if step is not None:
            step()

    async def put(self, name: str, namespace: str = "team", **data: str) -> Json:
        """Create a ConfigMap, or change it."""
        if (CONFIG_MAPS.plural, namespace, name) in self.objects:
            return await self.patch(CONFIG_MAPS, namespace, name, [{"op": "add", "path": "/data", "value": data}])
        return await self.create(
            CONFIG_MAPS, namespace, {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        )

    def gone(self, name: str, namespace: str = "team") -> None:
        self.remove(CONFIG_MAPS, namespace, name)


class Follower:
    """What an informer has told: what is known by it, and everything in order."""

    def __init__(self, server: Server, *namespaces: str | None) -> None:
        self.server, self.cache, self.told = server, ObjectCache(), list[str]()
        self.informer = Informer(
            server,
            Selection(CONFIG_MAPS, namespaces or (None,)),
            changed=self._changed,
            deleted=self._deleted,
            known=lambda namespace: self.cache.refs("ConfigMap", namespace),
        )

    def _changed(self, body: Json) -> None:
        self.cache.put("ConfigMap", body)
        self.told.append(f"+{body['metadata']['name']}")

    def _deleted(self, gone: tuple[str, str], version: str) -> None:
        self.cache.drop("ConfigMap", gone, version)
        self.told.append(f"-{gone[1]}")

    @property
    def known(self) -> dict[tuple[str, str], Json]:
        return {ref(body): body["data"] for body in self.cache.objects("ConfigMap")}

    @property
    def there(self) -> dict[tuple[str, str], Json]:
        return {ref(body): body["data"] for body in self.server.kinds("ConfigMap")}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """What is known is what is there."""
        await self.until(lambda: self.known == self.there)

    async def heard(self, *told: str) -> None:
        """Exactly this has been told since the last time; a request more of the server shows that no more comes."""
        await self.until(lambda: len(self.told) >= len(told))
        for _ in range(10):
            await asyncio.sleep(0)
        assert self.told == list(told)
        self.told.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Follower]:
        task = asyncio.create_task(self.informer.run())
        try:
            await asyncio.wait_for(self.informer.synced.wait(), PATIENCE)
            yield self
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoff is tested by itself."""
    monkeypatch.setattr(module, "backoff", lambda *_: 0.0)


def test_what_is_there_is_told_and_then_every_change() -> None:
    async def scenario() -> None:
        server = Server()
        await server.put("a")
        await server.put("b")
        async with Follower(server).running() as follower:
            await follower.heard("+a", "+b")
            await server.put("c")
            await server.put("a", n="1")
            server.gone("b")
            await follower.heard("+c", "+a", "-b")
            assert follower.known == {("team", "a"): {"n": "1"}, ("team", "c"): {}}

    asyncio.run(scenario())


def test_nothing_is_synced_before_every_page_is_read() -> None:
    async def scenario() -> None:
        server = Server()
        server.page_size = 2
        for number in range(5):
            await server.put(f"c{number}")
        follower = Follower(server)
        seen: list[bool] = []
        server.lists = [lambda: seen.append(follower.informer.synced.is_set())] * 4
        async with follower.running():
            await follower.heard("+c0", "+c1", "+c2", "+c3", "+c4")
        assert seen == [False] * 4

    asyncio.run(scenario())


def test_nothing_is_synced_before_every_namespace_is_read() -> None:
    async def scenario() -> None:
        server = Server()
        await server.put("a", "one")
        await server.put("b", "two")
        await server.put("c", "three")
        follower = Follower(server, "one", "two")
        seen: list[bool] = []
        server.lists = [lambda: seen.append(follower.informer.synced.is_set())] * 4
        async with follower.running():
            assert sorted(follower.told) == ["+a", "+b"]
            await server.put("d", "two")
            await server.put("e", "three")
            await follower.until(lambda: "+d" in follower.told)
            assert "+e" not in follower.told
        assert seen[:3] == [False] * 3

    asyncio.run(scenario())


def test_a_watch_that_ends_is_resumed_where_it_ended() -> None:
    async def scenario() -> None:
        server = Server()
        async with Follower(server).running() as follower:
            made = await server.put("a")
            await follower.heard("+a")
            server.watches = [lambda: server.gone("a")]
            server.cut()
            await follower.heard("-a")
            assert server.asked == ["LIST", "WATCH 1", f"WATCH {made['metadata']['resourceVersion']}"]

    asyncio.run(scenario())


def test_what_happened_while_nobody_watched_is_found_by_a_relist() -> None:
    """Deletions, too, of which no watch will ever tell."""

    async def scenario() -> None:
        server = Server()
        for name in ("gone", "changed", "same"):
            await server.put(name)
        async with Follower(server).running() as follower:
            follower.told.clear()

            def unheard() -> None:
                server.gone("gone")
                server.set_status(CONFIG_MAPS, "team", "changed", n=1)
                server.compact()

            server.watches = [unheard]
            server.cut()
            await follower.heard("+changed", "+same", "-gone")
            assert server.asked[:2] == ["LIST", "WATCH 4"]
            assert [asked.split()[0] for asked in server.asked[2:]] == ["WATCH", "LIST", "WATCH"]

    asyncio.run(scenario())


def test_a_namesake_that_was_made_while_nobody_watched_takes_its_place() -> None:
    async def scenario() -> None:
        server = Server()
        first = await server.put("a")
        async with Follower(server).running() as follower:
            server.gone("a")
            await follower.settled()
            second = await server.put("a")
            server.compact()
            server.cut()
            key = Key("team", "a")
            await follower.until(lambda: follower.cache.get("ConfigMap", key) is not None)
            found = follower.cache.get("ConfigMap", key)
            assert found is not None
            assert found["metadata"]["uid"] == second["metadata"]["uid"] != first["metadata"]["uid"]

    asyncio.run(scenario())


def test_a_relist_of_one_namespace_says_nothing_of_another() -> None:
    async def scenario() -> None:
        server = Server()
        await server.put("a", "one")
        await server.put("b", "two")
        async with Follower(server, "one", "two").running() as follower:
            server.compact()
            server.watches = [Expired(410, "Expired", "too old")]
            server.cut()
            await follower.until(lambda: server.asked.count("LIST") >= 3)
            await follower.settled()
            assert "-a" not in follower.told
            assert "-b" not in follower.told

    asyncio.run(scenario())


def test_an_answer_that_is_newer_than_the_relist_is_not_forgotten() -> None:
    """The operator creates something while a relist is under way, whose snapshot does not have it."""

    async def scenario() -> None:
        server = Server()
        follower = Follower(server)
        found: list[bool] = []

        def create() -> None:
            body = {"kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "team", "uid": "u"}, "data": {}}
            follower.cache.remember(server._store(CONFIG_MAPS, body))

        async with follower.running():
            server.lists = [None, create]
            server.watches = [
                Expired(410, "Expired", "too old"),
                lambda: found.append(follower.cache.get("ConfigMap", Key("team", "mine")) is not None),
            ]
            server.cut()
            await follower.until(lambda: bool(found))
            assert found == [True]
            await follower.settled()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "error",
    [AWAY, Forbidden(403, "Forbidden", "no"), Unavailable(429, "", "", 0.001)],
    ids=["away", "forbidden", "busy"],
)
def test_a_watch_that_fails_is_resumed_and_after_three_failures_begun_anew(error: ApiError) -> None:
    """An API server that was restored from a backup may never know the version that is resumed from."""

    async def scenario() -> None:
        server = Server()
        async with Follower(server).running() as follower:
            await follower.until(lambda: server.asked == ["LIST", "WATCH 1"])
            server.watches = [error, error, error]
            server.cut()
            await follower.until(lambda: len(server.asked) == 7)
            assert server.asked[2:] == ["WATCH 1", "WATCH 1", "WATCH 1", "LIST", "WATCH 1"]
            await server.put("a")
            await follower.heard("+a")

    asyncio.run(scenario())


def test_what_is_heard_makes_earlier_failures_forgotten() -> None:
    async def scenario() -> None:
        server = Server()
        async with Follower(server).running() as follower:
            for name in ("a", "b", "c"):
                server.watches = [AWAY, AWAY]
                server.cut()
                await server.put(name)
                await follower.heard(f"+{name}")
            assert server.asked.count("LIST") == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [AWAY, Expired(410, "Expired", "the continue token is too old")])
@pytest.mark.parametrize("page", [0, 1])
def test_a_list_that_fails_is_begun_anew_and_tells_of_no_deletion(error: ApiError, page: int) -> None:
    """Half a list is no evidence that the other half is gone."""

    async def scenario() -> None:
        server = Server()
        server.page_size = 1
        await server.put("a")
        await server.put("b")
        async with Follower(server).running() as follower:
            server.lists = [*[None] * page, error]
            server.watches = [Expired(410, "Expired", "too old")]
            server.cut()
            await follower.until(lambda: len(server.asked) == 6)
            assert [asked.split()[0] for asked in server.asked] == ["LIST", "WATCH", "WATCH", "LIST", "LIST", "WATCH"]
            assert not [told for told in follower.told if told.startswith("-")]

    asyncio.run(scenario())


def test_a_server_that_is_away_at_the_start_is_waited_for() -> None:
    async def scenario() -> None:
        server = Server()
        server.lists = [AWAY] * 20
        await server.put("a")
        async with Follower(server).running() as follower:
            await follower.heard("+a")

    asyncio.run(scenario())


def test_only_what_is_selected_is_told() -> None:
    async def scenario() -> None:
        server = Server()
        told: list[str] = []
        selection = Selection(CONFIG_MAPS, label_selector="team=data", field_selector="data.n!=9")
        informer = Informer(
            server,
            selection,
            changed=lambda body: told.append("+" + body["metadata"]["name"]),
            deleted=lambda gone, _: told.append("-" + gone[1]),
            known=lambda _: (),
        )
        for name, team, n in (("a", "data", "1"), ("b", "data", "9"), ("c", "web", "1")):
            meta = {"name": name, "labels": {"team": team}}
            await server.create(CONFIG_MAPS, "team", {"kind": "ConfigMap", "metadata": meta, "data": {"n": n}})
        task = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced.wait(), PATIENCE)
        await server.put("a", n="9")
        await server.put("b", n="1")
        async with asyncio.timeout(PATIENCE):
            while len(told) < 3:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert told == ["+a", "-a", "+b"]

    asyncio.run(scenario())


def test_silence_counts_from_the_last_thing_that_was_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the namespace that is quietest, and a bookmark or the end of a watch is heard, too."""
    now = 100.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))

    async def scenario() -> None:
        nonlocal now
        server = Server()
        follower = Follower(server, "one", "two")
        now = 110.0
        assert follower.informer.silence() == 10.0
        async with follower.running():
            assert follower.informer.silence() == 0.0
            now = 120.0
            await server.put("a", "one")
            await follower.until(lambda: "+a" in follower.told)
            assert follower.informer.silence() == 10.0
            server.cut()
            await follower.until(lambda: len(server.asked) == 6)
            assert follower.informer.silence() == 0.0
            now = 130.0
            server.watches = [AWAY]
            server.cut()
            await follower.until(lambda: len(server.asked) == 9)

    asyncio.run(scenario())


def test_what_is_gone_was_known_and_is_not_listed() -> None:
    assert gone_since([("n", "a"), ("n", "b")], [("n", "b"), ("n", "c")]) == {("n", "a")}
    assert gone_since([], [("n", "b")]) == set()


@given(st.sets(st.integers(0, 12)), st.integers(0, 2**20), st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_happens_to_watches_what_is_known_becomes_what_is_there(
    names: set[int], seed: int, data: st.DataObject
) -> None:
    async def scenario() -> None:
        server = Server()
        server.page_size = 3
        for name in sorted(names):
            await server.put(f"c{name}")
        steps = data.draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["put", "remove", "cut", "compact", "away", "expired", "half a list", "time"]),
                    st.integers(0, 12),
                ),
                max_size=25,
            )
        )
        async with Follower(server).running() as follower:
            for step, number in steps:
                name = f"c{number}"
                if step == "put":
                    await server.put(name, n=str(seed + number))
                elif step == "remove" and (CONFIG_MAPS.plural, "team", name) in server.objects:
                    server.gone(name)
                elif step == "cut":
                    server.cut()
                elif step == "compact":
                    server.compact()
                    server.cut()
                elif step == "away":
                    server.watches = [AWAY] * (number % 4)
                    server.cut()
                elif step == "expired":
                    server.watches = [Expired(410, "Expired", "")]
                    server.cut()
                elif step == "half a list":
                    server.lists = [None, AWAY]
                else:
                    for _ in range(number):
                        await asyncio.sleep(0)
            await follower.settled()

    asyncio.run(scenario())


def test_a_relist_tells_all_anew_and_what_went_unheard() -> None:
    async def scenario() -> None:
        server = Server()
        await server.put("a")
        await server.put("b")
        follower = Follower(server)

        async def silent(*_: Any, **__: Any) -> AsyncIterator[WatchEvent]:
            await asyncio.Event().wait()
            yield WatchEvent("BOOKMARK", {})

        server.watch = silent  # type: ignore[method-assign, assignment]
        async with follower.running():
            await follower.heard("+a", "+b")
            server.gone("a")
            await server.put("c")
            follower.informer.relist()
            follower.informer.relist()
            assert not follower.informer.synced.is_set()
            await asyncio.wait_for(follower.informer.synced.wait(), PATIENCE)
            await follower.heard("+b", "+c", "-a")

    asyncio.run(scenario())


def test_a_list_that_began_before_the_relist_does_not_count_as_one() -> None:
    async def scenario() -> None:
        server = Server()
        await server.put("a")
        follower = Follower(server)
        server.lists = [None, lambda: follower.informer.relist()]  # while its first page is taken in
        async with follower.running():
            assert server.asked.count("LIST") == 2

    asyncio.run(scenario())


def test_a_relist_in_a_backoff_comes_with_the_next_try() -> None:
    async def scenario() -> None:
        server = Server()
        server.watches = [lambda: server.lists.append(AWAY), AWAY]
        follower = Follower(server)
        async with follower.running():
            server.cut()
            await follower.until(lambda: len(server.asked) >= 3)
            follower.informer.relist()
            await asyncio.wait_for(follower.informer.synced.wait(), PATIENCE)
            assert server.asked.count("LIST") >= 2

    asyncio.run(scenario())


def test_an_object_that_cannot_be_taken_in_keeps_no_other_from_being_told_of() -> None:
    async def scenario() -> None:
        server = Server()
        for name in ("a", "bad", "c"):
            await server.put(name)
        follower = Follower(server)
        taken_in, dropped = follower._changed, follower._deleted

        def changed(body: Json) -> None:
            if body["metadata"]["name"] == "bad":
                raise ValueError("nonsense")
            taken_in(body)

        def deleted(gone: tuple[str, str], version: str) -> None:
            if gone[1] == "a":
                raise ValueError("nonsense")
            dropped(gone, version)

        follower.informer._changed, follower.informer._deleted = changed, deleted
        async with follower.running():
            await server.put("bad", n="1")
            await server.put("d")
            server.gone("a")
            server.gone("c")
            await follower.heard("+a", "+c", "+d", "-c")

    asyncio.run(scenario())


def test_a_step_is_a_step_also_where_the_server_is_away() -> None:
    async def scenario() -> None:
        server = Server()
        follower = Follower(server)
        async with follower.running():
            server.watches = [AWAY] * 2
            follower.informer._moved = follower.informer._heard = {None: 0.0}
            server.cut()
            await follower.until(lambda: len(server.watches) <= 1)
            assert follower.informer.stillness() < PATIENCE

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("asked_for", "least", "most"), [(None, 2.0, 4.0), (1.0, 2.0, 4.0), (30.0, 30.0, 45.0)], ids=["", "less", "more"]
)
def test_the_server_may_ask_for_a_longer_wait(
    asked_for: float | None, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With jitter in any case, so that informers do not come all at once."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def sleeping(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module, "backoff", lambda *_: 4.0)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleeping}))

    async def scenario() -> None:
        server = Server()
        server.lists = [Unavailable(429, "", "", asked_for)]
        async with Follower(server).running():
            pass

    asyncio.run(scenario())
    (seconds,) = slept
    assert least <= seconds <= most
