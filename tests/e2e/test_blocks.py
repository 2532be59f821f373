"""A flow on a real node reads its blocks from the mount, and its pod has no other way to their secrets."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from installation import Penstock

SECRET = "h4rd-to-guess"
FLOW = """
from pydantic import SecretStr

from penstock import flow
from penstock.artifacts import create_table_artifact, create_progress_artifact, update_progress_artifact
from penstock.blocks import Block, Secret
from penstock.variables import Variable


class Warehouse(Block):
    host: str
    password: SecretStr


@flow(blocks=["e2e-warehouse", "e2e-key"], log_prints=True)
def reader() -> list:
    warehouse = Warehouse.load("e2e-warehouse")
    print(warehouse)
    create_table_artifact([{"host": warehouse.host}], key="e2e-hosts")
    bar = create_progress_artifact(0)
    update_progress_artifact(bar, 50)
    Variable.set("e2e_seen", warehouse.host, overwrite=True)
    return [warehouse.host, len(warehouse.password.get_secret_value()), Secret.load("e2e-key").get()["n"], bar]
"""


@pytest.fixture(scope="module")
def deployed(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flow and its blocks, saved and deployed by the CLI."""
    folder = tmp_path_factory.mktemp("flow")
    file, secret, key = folder / "reader.py", folder / "secret", folder / "key"
    file.write_text(FLOW)
    secret.write_text(SECRET)
    key.write_text('{"n": 7}')
    penstock.cli("deploy", str(file), "--pool", "default")
    target = f"{file}:Warehouse"
    penstock.cli(
        *("block", "save", target, "e2e-warehouse", "-p", "host=db", "--secret", f"password={secret}", "--overwrite")
    )
    penstock.cli(
        *("block", "save", "penstock.blocks.system:Secret", "e2e-key", "--secret", f"value={key}"),
        *("-p", "encoding=json", "--overwrite"),
    )
    return file


def test_a_flow_reads_its_blocks_and_shows_no_secret(penstock: Penstock, deployed: Path) -> None:
    penstock.cli("run", "reader", "--name", "reads-blocks", "--watch")
    run = penstock.settled("reads-blocks")
    host, length, number, bar = run["status"]["result"]["inline"]
    assert (host, length, number) == ("db", len(SECRET), 7)
    assert [block["name"] for block in run["status"]["resolved"]["blocks"]] == ["e2e-warehouse", "e2e-key"]
    assert penstock.get("variable", "e2e-seen")["spec"]["value"] == "db"
    assert penstock.get("artifact", "e2e-hosts")["spec"]["run"]["uid"] == run["metadata"]["uid"]
    assert penstock.get("artifact", bar)["spec"]["data"] == 50
    everything = penstock.cli("logs", "reads-blocks").stdout
    for kind in ("flowruns", "flows", "blocks", "pods", "configmaps", "controllerrevisions", "artifacts", "events"):
        everything += penstock.kubectl("get", kind, "-o", "json")
    assert "db" in everything
    assert SECRET not in everything
    penstock.kubectl("delete", "flowrun", "reads-blocks")
    deadline = time.monotonic() + 60
    while penstock.kubectl("get", "artifact", bar, "--ignore-not-found"):
        assert time.monotonic() < deadline, "an artifact without a key goes with its run"
        time.sleep(0.3)
    assert penstock.get("artifact", "e2e-hosts")["spec"]["data"] == {"columns": ["host"], "rows": [["db"]]}
