"""The shell: kopf is told to keep its hands off the objects, and a dead controller is no healthy operator."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
import pytest

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

        operator._task = asyncio.create_task(broken())
        operator._task.add_done_callback(operator._ended)
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
