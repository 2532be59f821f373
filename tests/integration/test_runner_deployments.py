"""`flow.deploy` and `deploy` on a real API server."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import builders
from api_client import ApiClient
from command_line import CommandLine
from penstock.applying import ApplyRefused
from penstock.deployments import adeploy, deploy

ETL = "from penstock import flow\n\n\n@flow\ndef etl(parts: int = 2):\n    pass\n"


@pytest.fixture
def shop(penstock: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module shop, with the flow etl, in the working directory."""
    Path("shop.py").write_text(ETL)
    monkeypatch.syspath_prepend(Path.cwd())
    yield importlib.import_module("shop")
    sys.modules.pop("shop", None)


def test_a_flow_is_deployed_and_can_be_run(
    shop: Any, penstock: CommandLine, admin: ApiClient, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.etl.deploy("nightly", cron="0 6 * * *", parameters={"parts": 3}) == "nightly"
    assert capsys.readouterr().out == (
        "Deployed nightly. Start it with: penstock run nightly --watch\n"
        "The operator has not looked at nightly yet: is it running?\n"
    )
    found = admin.get("FlowDeployment", namespace, "nightly")["spec"]
    assert found["parameters"] == {"parts": 3}
    assert admin.get("Flow", namespace, "etl")["spec"]["code"]["source"]["text"] == ETL
    penstock.ok("run", "nightly", "-p", "parts=4")


def test_that_it_is_not_ready_is_warned_of(shop: Any, admin: ApiClient, namespace: str) -> None:
    shop.etl.deploy("nightly", print_next_steps=False)
    said = {**builders.held("Ready", False, "WorkPoolNotFound", "WorkPool gpu is not there"), "observedGeneration": 1}
    admin.merge("FlowDeployment", namespace, "nightly", {"status": {"conditions": [said]}}, "status")
    with pytest.warns(UserWarning, match="nightly is not ready: WorkPoolNotFound: WorkPool gpu is not there"):
        assert shop.etl.deploy("nightly", print_next_steps=False) == "nightly"
    with pytest.warns(UserWarning, match="nightly is not ready"):
        shop.etl.to_deployment("nightly").apply()


def test_as_the_command_deploys_it(shop: Any, penstock: CommandLine) -> None:
    """Both are the same field manager: neither meets a conflict with the other."""
    shop.etl.deploy(print_next_steps=False)
    del sys.modules["shop"]  # the command loads files whose names are free
    assert "changed" not in penstock.ok("deploy", "shop.py").replace("unchanged", "")
    penstock.ok("deploy", "shop.py", "-t", "a")
    sys.modules["shop"] = shop
    shop.etl.deploy(print_next_steps=False)


def test_several_at_once_or_none(shop: Any, admin: ApiClient, namespace: str) -> None:
    good = shop.etl.to_deployment("good")
    bad = shop.etl.to_deployment("bad", job_variables={"labels": {"penstock.dev/run": "mine"}})
    with pytest.raises(ApplyRefused, match=r"keys that begin with penstock\.dev/ are reserved"):
        deploy(good, bad)
    assert admin.list("FlowDeployment", namespace)["items"] == []
    assert deploy(good, shop.etl.to_deployment("other"), work_pool_name="gpu") == ["good", "other"]
    pools = [body["spec"]["workPool"] for body in admin.list("FlowDeployment", namespace)["items"]]
    assert pools == ["gpu", "gpu"]


def test_what_others_have_set_is_not_taken(shop: Any, penstock: CommandLine, admin: ApiClient, namespace: str) -> None:
    shop.etl.deploy("nightly", print_next_steps=False)
    penstock.ok("deployments", "suspend", "nightly")
    shop.etl.deploy("nightly", tags=["a"], print_next_steps=False)
    assert admin.get("FlowDeployment", namespace, "nightly")["spec"]["suspend"] is True
    with pytest.raises(ApplyRefused, match=r"spec\.suspend \(by penstock-suspend\)"):
        shop.etl.deploy("nightly", paused=False)
    shop.etl.deploy("nightly", paused=False, force=True, print_next_steps=False)
    assert admin.get("FlowDeployment", namespace, "nightly")["spec"]["suspend"] is False


def test_async_code_awaits_it(shop: Any, admin: ApiClient, namespace: str) -> None:
    async def main() -> Any:
        named = await shop.etl.deploy("nightly", print_next_steps=False)
        two = [shop.etl.to_deployment("a"), shop.etl.to_deployment("b")]
        return [named, *await adeploy(*two, print_next_steps_message=False)]

    assert asyncio.run(main()) == ["nightly", "a", "b"]
    assert shop.etl.to_deployment("other").apply("gpu") == "other"
    assert admin.get("FlowDeployment", namespace, "other")["spec"]["workPool"] == "gpu"
