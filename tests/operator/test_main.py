"""The shell: kopf is told to keep its hands off the objects, and a dead controller is no healthy operator."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kopf
import pytest
from aiohttp import web

from penstock_operator import main
from penstock_operator.main import Operator
from penstock_operator.settings import Settings


def test_kopf_posts_no_events_and_compares_no_bodies() -> None:
    settings = kopf.OperatorSettings()
    main.shell(settings)
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
    assert settings.peering.standalone is True
    storage = settings.persistence.diffbase_storage
    body: Any = kopf.Body({"metadata": {"name": "a"}, "spec": {"n": 1}})
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None


def test_the_registry_has_login_start_stop_and_probe() -> None:
    handlers = main.registry(Operator(Settings()))
    activities = {handler.id: handler.activity for handler in handlers._activities._handlers}
    assert {str(activity).rpartition(".")[2].lower() for activity in activities.values()} == {
        "authentication",
        "startup",
        "cleanup",
        "probe",
    }


def test_an_operator_whose_controller_does_not_run_is_not_healthy() -> None:
    with pytest.raises(RuntimeError, match="controller does not run"):
        Operator(Settings()).health()


def test_a_controller_that_ends_ends_the_process() -> None:
    """The Deployment starts a fresh one; a zombie that only answers probes would strand every run."""

    async def ending() -> bool:
        operator = Operator(Settings())

        async def broken() -> None:
            raise RuntimeError("the watch loop broke")

        operator._run(broken(), "controller")
        await asyncio.wait_for(operator.failed.wait(), 5)
        with pytest.raises(RuntimeError, match="controller does not run"):
            operator.health()
        await operator.stop()
        return True

    assert asyncio.run(ending())


def test_a_wrong_setting_ends_the_program_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_OPERATOR_WORKERS", "none")
    with pytest.raises(SystemExit) as raised:
        main.main()
    assert str(raised.value).startswith("error: PENSTOCK_OPERATOR_WORKERS='none'")


def test_the_instance_is_the_pod_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "penstock-operator-abc")
    assert main.instance() == "penstock-operator-abc"
    monkeypatch.delenv("POD_NAME")
    assert main.instance()


def test_a_pod_is_the_same_in_the_election_after_a_restart_and_a_process_elsewhere_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POD_NAME", "penstock-operator-abc")
    assert main.identity() == "penstock-operator-abc"
    monkeypatch.delenv("POD_NAME")
    assert main.identity() != main.identity()


@asynccontextmanager
async def api_server() -> AsyncIterator[str]:
    """An API server with a run that is being deleted, and nothing else; its watches are silent."""
    meta = {"name": "run", "namespace": "team", "uid": "u", "resourceVersion": "5"}
    run = {"metadata": {**meta, "deletionTimestamp": "2026-01-01T06:00:00Z"}, "spec": {"flowRef": {"name": "etl"}}}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            stream = web.StreamResponse()
            await stream.prepare(request)
            bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "6"}}}
            await stream.write(json.dumps(bookmark).encode() + b"\n")
            await asyncio.Event().wait()
        live = request.path.endswith("/flowruns") and request.query.get("fieldSelector") == "status.settled!=true"
        items = [run] if live else []
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": items})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def served(port: int) -> dict[str, float]:
    """The metrics without labels that the operator serves."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in (line.split() for line in lines)}


def test_an_operator_that_started_is_healthy_and_serves_its_metrics_until_it_is_stopped() -> None:
    async def scenario() -> None:
        port = free_port()
        operator = Operator(Settings(metrics_port=port))
        async with api_server() as url:
            await operator.start(kopf.ConnectionInfo(server=url))
            assert operator.controller is not None
            async with asyncio.timeout(20):
                for informer in operator.controller.informers:
                    await informer.synced.wait()
            assert operator.health().keys() == {"silence", "queued", "leads"}
            metrics = await asyncio.to_thread(served, port)
            assert metrics["penstock_live_runs"] == 1.0
            assert metrics["penstock_settled_runs"] == 0.0
            assert 0.0 <= metrics["penstock_queue_oldest_seconds"] < 60.0
            assert 0.0 <= metrics["penstock_watch_silence_seconds"] < 60.0
            assert metrics["penstock_events_dropped"] == 0.0
            assert metrics["penstock_queue_depth"] in (0.0, 1.0)
            await operator.stop()
        assert operator.failed.is_set()
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(served, port)
        with pytest.raises(RuntimeError, match="controller does not run"):
            operator.health()

    asyncio.run(scenario())
