"""Artifacts, variables and blocks on a real API server: written by real runners, and what a run is refused."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import builders
from api_client import Refused
from builders import GONE, changed, good
from cells import Cell, runner
from penstock import flow
from penstock.api import labels, names
from penstock.artifacts import create_markdown_artifact
from penstock.blocks import Block, Secret, documents
from penstock.cli import cli
from penstock.client import Client
from penstock.errors import InvalidResource, ResourceExists, ResourceNotFound, ResourceRefused
from penstock.kubeconfig import access
from penstock.resources.cluster import ClusterResources
from penstock.variables import Variable, read, remove, write
from penstock_operator.launch import pods
from penstock_operator.launch.pods import Defaults, Launch

Json = dict[str, Any]
SIGNED = "spec.run must name the run of the pod"
UNKEYED = "an artifact without a key is named <run>-… and owned by its run alone"
KEYED = "an artifact with a key is named by it, and owned by nobody"


def ended(process: subprocess.Popen[str]) -> str:
    """What the runner wrote to stderr, once it has ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, f"{out}\n{err}"
    return err


def result(cell: Cell, run: str = "run") -> Json:
    status: Json = cell.admin.get("FlowRun", cell.namespace, run)["status"]
    assert status["state"]["type"] == "Completed", status["state"]
    found: Json = status["result"]
    return found


@pytest.fixture
def person(cell: Cell) -> Iterator[ClusterResources]:
    """The resources of the cell's namespace, with an administrator's kubeconfig."""
    with Client(access(str(cell.admin.kubeconfig)), cell.namespace) as client:
        yield ClusterResources(client)


def told(cell: Cell) -> list[tuple[str, str]]:
    """What became of which artifact, as Events about the run tell."""
    events = cell.admin.list("Event", cell.namespace)["items"]
    prefix = "penstock.artifact."
    mine = [event for event in events if event["reason"].startswith(prefix)]
    assert all(event["regarding"]["name"] == "run" for event in mine)
    return [
        (
            event["reason"].removeprefix(prefix),
            json.loads(event["metadata"]["annotations"][labels.EVENT_RESOURCE])["penstock.resource.id"].removeprefix(
                prefix
            ),
        )
        for event in mine
    ]


ARTIFACTS = """
from penstock import flow, task
from penstock.artifacts import *

@task
def measure(n):
    return create_table_artifact([{"n": n, "square": n * n}])

@flow
def main(**given):
    create_markdown_artifact("# First", key="report", description="of a flow")
    create_markdown_artifact("# Second", key="report")
    bar = create_progress_artifact(0, description="rows")
    for percent in range(0, 1000):
        update_progress_artifact(bar, percent / 10)
    return [bar, measure(2), measure(3), Artifact.get("report").data, create_link_artifact("https://example.org")]
"""


def test_a_run_shows_artifacts_that_are_its_own(cell: Cell, tmp_path: Path) -> None:
    """One with a key is updated in place and outlives its run; one without is owned by its run; the last percentage
    of a loop is there at the end."""
    ended(runner(cell, ARTIFACTS, tmp_path))
    bar, first, second, report, link = result(cell)["inline"]
    found = {a["metadata"]["name"]: a for a in cell.admin.list("Artifact", cell.namespace)["items"]}
    assert set(found) == {"report", bar, first, second, link}
    assert report == "# Second"
    uid = cell.admin.get("FlowRun", cell.namespace, "run")["metadata"]["uid"]
    assert found["report"]["spec"] | {"run": found["report"]["spec"]["run"]["name"]} == {
        "key": "report",
        "type": "markdown",
        "data": "# Second",
        "description": "",
        "run": "run",
    }
    assert "ownerReferences" not in found["report"]["metadata"]
    assert found[bar]["spec"]["data"] == 99.9
    assert found[second]["spec"]["data"] == {"columns": ["n", "square"], "rows": [[3, 9]]}
    assert found[second]["spec"]["run"]["taskRun"]
    for name in (bar, first, second, link):
        owner = found[name]["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("FlowRun", "run", uid)
        assert name.startswith("run-")
    # A thousand updates became a few writes: the API server counts an object's writes of its spec.
    assert found[bar]["metadata"]["generation"] <= 5
    assert sorted(told(cell)) == sorted(
        [("created", name) for name in ("report", bar, first, second, link)] + [("updated", "report")]
    ), "each is an event of the run, but for the steps of a percentage"


ASYNC = """
import asyncio
from penstock import flow, task
from penstock.artifacts import acreate_markdown_artifact, create_image_artifact, Artifact
from penstock.variables import Variable

@task
async def show(n):
    return await create_image_artifact(f"https://example.org/{n}.png")

@flow
async def main(**given):
    ids = await asyncio.gather(*(show(n) for n in range(3)))
    await acreate_markdown_artifact("text", key="async")
    found, made = await Artifact.get_or_create("async", type="markdown", data="other")
    await Variable.set("limit", {"n": 3})
    return [len(set(ids)), found.data, made, await Variable.get("limit")]
"""


def test_async_flows_await_the_same_names(cell: Cell, tmp_path: Path) -> None:
    ended(runner(cell, ASYNC, tmp_path))
    assert result(cell)["inline"] == [3, "text", False, {"n": 3}]


def test_the_next_attempt_writes_over_what_the_first_has_shown(cell: Cell, tmp_path: Path) -> None:
    """The same call makes the same name; the fence of attempts does not hinder it."""
    source = ARTIFACTS.replace("# First", "# Again")
    ended(runner(cell, source, tmp_path))
    before = {a["metadata"]["name"]: a for a in cell.admin.list("Artifact", cell.namespace)["items"]}
    run = cell.admin.get("FlowRun", cell.namespace, "run")
    pod = cell.pod("run-2")
    name = next(n for n, a in before.items() if a["spec"]["type"] == "link")
    again = [
        {"op": "add", "path": "/spec/data", "value": "[x](https://example.org/x)"},
        {"op": "add", "path": "/spec/run", "value": {"name": "run", "uid": run["metadata"]["uid"]}},
        {"op": "add", "path": "/metadata/labels/penstock.dev~1attempt", "value": "2"},
    ]
    written = pod.client.patch("Artifact", cell.namespace, name, again)
    assert written["metadata"]["uid"] == before[name]["metadata"]["uid"]


VARIABLES = """
from penstock import flow
from penstock.errors import ResourceExists
from penstock.variables import Variable

@flow
def main(**given):
    before = Variable.get("api_url")
    Variable.set("made_here", [1, None, {"a": "b"}], tags=["x"])
    try:
        Variable.set("made_here", 2)
    except ResourceExists as error:
        refused = str(error)
    Variable.set("made_here", {"a": 1}, overwrite=True)
    Variable.set("made_here", {"b": 2}, overwrite=True)
    gone = [Variable.unset("gone"), Variable.unset("gone")]
    return [before, refused, Variable.get("made-here"), Variable.get("none", default=7), gone]
"""


def test_a_run_reads_and_writes_variables(cell: Cell, person: ClusterResources, tmp_path: Path) -> None:
    write("api_url", "https://example.org", where=person)
    write("gone", 1, where=person)
    ended(runner(cell, VARIABLES, tmp_path, PENSTOCK_VARIABLE_API_URL="from the environment"))
    url, refused, made, default, gone = result(cell)["inline"]
    assert (url, made, default, gone) == ("https://example.org", {"b": 2}, 7, [True, False])
    assert "overwrite=True" in refused
    assert read("made_here", where=person) == {"b": 2}
    assert cell.admin.get("Variable", cell.namespace, "made-here")["spec"]["tags"] == ["x"]
    assert remove("made_here", person)
    assert read("made_here", None, person) is None


class Warehouse(Block):
    host: str
    password: Secret


BLOCKS = """
from penstock import flow
from penstock.blocks import Block, Secret
from penstock.errors import ResourceError

@flow(blocks=["api-key"])
def main(**given):
    key = Secret.load("api-key")
    print(repr(key))
    said = []
    for wrong in (lambda: Secret.load("other"), lambda: key.save("mine"), lambda: Secret.delete("api-key")):
        try:
            wrong()
        except ResourceError as error:
            said.append(f"{type(error).__name__}: {error}")
    return [len(key.get()), said]
"""


def test_a_run_reads_its_blocks_from_the_mount_alone(cell: Cell, person: ClusterResources, tmp_path: Path) -> None:
    documents.write("api-key", Secret(value="h4rd-to-guess").to_document(), False, person)
    folder = tmp_path / "mount/api-key/secrets"
    folder.mkdir(parents=True)
    (folder.parent / "block.json").write_text(json.dumps({"type": "secret", "data": {"encoding": "text"}}))
    (folder / "value").write_text("h4rd-to-guess")
    process = runner(cell, BLOCKS, tmp_path, **{labels.ENV_BLOCKS: str(tmp_path / "mount")})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    length, said = result(cell)["inline"]
    assert length == len("h4rd-to-guess")
    assert [text.split(":")[0] for text in said] == ["ResourceNotFound", "ResourceRefused", "ResourceRefused"]
    assert "@flow(blocks=['other'])" in said[0]
    run = json.dumps(cell.admin.get("FlowRun", cell.namespace, "run"))
    assert "h4rd-to-guess" not in out + err + run


def test_a_block_keeps_its_secrets_in_a_secret_that_goes_with_it(cell: Cell, person: ClusterResources) -> None:
    block = Warehouse(host="db", password=Secret(value="h4rd"))
    documents.write("prod", block.to_document(), False, person)
    body = cell.admin.get("Block", cell.namespace, "prod")
    assert body["spec"]["data"] == {"host": "db", "password": {"encoding": "text"}}
    reference = {"name": names.block_secret("prod"), "key": "password.value"}
    assert body["spec"]["secrets"] == {"password.value": reference}
    secret = person.get("secrets", reference["name"])
    assert secret is not None
    assert base64.b64decode(secret["data"]["password.value"]) == b"h4rd"
    owner = secret["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Block", body["metadata"]["uid"])
    loaded = Warehouse.of_document("prod", documents.read("prod", person))
    assert (loaded.host, loaded.password.get()) == ("db", "h4rd")
    with pytest.raises(ResourceExists, match="overwrite=True"):
        documents.write("prod", block.to_document(), False, person)
    documents.write("prod", Warehouse(host="new", password=Secret(value="n3w")).to_document(), True, person)
    again = Warehouse.of_document("prod", documents.read("prod", person))
    assert (again.host, again.password.get()) == ("new", "n3w")
    assert documents.remove("prod", where=person)
    assert person.get("secrets", reference["name"]) is None
    assert not documents.remove("prod", where=person)


def test_the_pod_that_mounts_blocks_is_one_that_kubernetes_takes(cell: Cell) -> None:
    references = [{"name": name, "uid": "u", "generation": 1, "revision": "r"} for name in ("prod", "plain")]
    run = changed(builders.flow_run("Pending"), {"metadata.namespace": cell.namespace})
    run["status"]["resolved"]["blocks"] = references
    specs = {
        "prod": {"type": "t", "data": {"a": 1}, "secrets": {"login.password": {"name": "db", "key": "pw"}}},
        "plain": {"type": "t"},
    }
    made = cell.admin.create(pods.pod(Launch(run, {"type": "Pod"}, [], Defaults("penstock:1"), specs)))
    sources = next(v for v in made["spec"]["volumes"] if v["name"] == "penstock-blocks")["projected"]["sources"]
    assert [next(iter(source)) for source in sources] == ["downwardAPI", "secret"]


def test_a_secret_of_somebody_else_is_left_alone(cell: Cell, person: ClusterResources) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": names.block_secret("prod")}, "data": {}}
    person.create(secret)
    with pytest.raises(ResourceExists, match="is not Penstock's"):
        documents.write("prod", Secret(value="x").to_document(), False, person)


@pytest.mark.parametrize("path", ["../x", "a/b", "..", "a..b", ".a", "a b", "", "x" * 201])
def test_a_secret_field_is_named_by_a_path_that_can_be_mounted(path: str, cell: Cell) -> None:
    body = changed(good("Block", namespace=cell.namespace), {"spec.secrets": {path: {"name": "s", "key": "k"}}})
    with pytest.raises(Refused, match="named by the path of its field"):
        cell.admin.create(body)


def test_what_a_person_is_refused_is_an_error_of_the_tree(cell: Cell, person: ClusterResources) -> None:
    with pytest.raises(ResourceNotFound, match=f"variables/none is not in namespace {cell.namespace}"):
        person.change("variables", "none", {"/spec/value": 1})
    assert person.delete("variables", "none") is False
    body = {"apiVersion": builders.API_VERSION, "kind": "Artifact", "metadata": {"name": "x"}, "spec": {"type": "no"}}
    with pytest.raises(InvalidResource, match="Unsupported value"):
        person.create(body)
    pod = cell.pod("run-1")
    # Without the administrator's certificate the token decides.
    headers = {"Authorization": f"Bearer {pod.token}"}
    config = replace(access(str(cell.admin.kubeconfig)), headers=headers, verify=_without_certificate(cell))
    with Client(config, cell.namespace) as client, pytest.raises(ResourceRefused, match="blocks"):
        ClusterResources(client).list("blocks")


def _without_certificate(cell: Cell) -> Any:
    import ssl

    import yaml

    cluster = yaml.safe_load(cell.admin.kubeconfig.read_text())["clusters"][0]["cluster"]
    return ssl.create_default_context(cafile=cluster["certificate-authority"])


def artifact(cell: Cell, run: Json, keyed: bool, name: str | None = None) -> Json:
    """An artifact of `run` as its runner makes it."""
    identity = {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]}
    name = name or ("report" if keyed else f"{identity['name']}-abcde")
    body = changed(good("Artifact", name, cell.namespace), {"spec.run": identity})
    if keyed:
        return changed(body, {"spec.key": name})
    owner = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "controller": True, **identity}
    return changed(body, {"spec.key": GONE, "metadata.ownerReferences": [owner]})


@pytest.mark.parametrize(("keyed", "name"), [(True, "run-1"), (False, "run-1"), (False, "run-2-x7k2m")])
def test_a_pod_writes_artifacts_in_the_name_of_its_run(keyed: bool, name: str, cell: Cell) -> None:
    run, pod = cell.run(), cell.pod(name)
    written = pod.client.create(artifact(cell, run, keyed))
    change = {"spec": {"data": "other"}}
    name = written["metadata"]["name"]
    assert pod.client.merge("Artifact", cell.namespace, name, change)["spec"]["data"] == "other"


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without a key"])
def test_a_pod_signs_no_artifact_for_another_run(keyed: bool, cell: Cell) -> None:
    cell.run()
    other, pod = cell.run("other"), cell.pod("run-1")
    with pytest.raises(Refused, match=SIGNED) as refusal:
        pod.client.create(artifact(cell, other, keyed))
    assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")
    with pytest.raises(Refused, match=SIGNED):
        pod.client.create(changed(artifact(cell, other, keyed), {"spec.run": GONE}))


def test_a_key_passes_from_run_to_run_and_each_signs(cell: Cell) -> None:
    run, other = cell.run(), cell.run("other")
    cell.pod("run-1").client.create(artifact(cell, run, True))
    second = cell.pod("other-1")
    with pytest.raises(Refused, match=SIGNED):
        second.client.merge("Artifact", cell.namespace, "report", {"spec": {"data": "x"}})
    signed = {"spec": {"data": "x", "run": {"name": "other", "uid": other["metadata"]["uid"]}}}
    assert second.client.merge("Artifact", cell.namespace, "report", signed)["spec"]["run"]["name"] == "other"


def test_an_artifact_without_a_key_stays_its_runs(cell: Cell) -> None:
    run, other = cell.run(), cell.run("other")
    made = cell.pod("run-1").client.create(artifact(cell, run, False))["metadata"]["name"]
    taken = {"spec": {"run": {"name": "other", "uid": other["metadata"]["uid"]}}}
    with pytest.raises(Refused, match=r"is named <run>-…|keeps its key") as refusal:
        cell.pod("other-1").client.merge("Artifact", cell.namespace, made, taken)
    assert refusal.value.code == 403


@pytest.mark.parametrize(
    ("keyed", "changes", "message"),
    [
        (False, {"metadata.ownerReferences": []}, UNKEYED),
        (False, {"metadata.ownerReferences.0.uid": "another"}, UNKEYED),
        (False, {"metadata.ownerReferences.0.kind": "Flow"}, UNKEYED),
        (False, {"metadata.name": "other-abcde"}, UNKEYED),
        (True, {"metadata.name": "other"}, KEYED),
        (
            True,
            {"metadata.ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]},
            KEYED,
        ),
    ],
    ids=[
        "no owner",
        "an owner of another uid",
        "an owner of another kind",
        "another run's name",
        "a key of another name",
        "a key with an owner",
    ],
)
def test_an_artifact_is_named_and_owned_as_its_key_says(keyed: bool, changes: Json, message: str, cell: Cell) -> None:
    run, pod = cell.run(), cell.pod("run-1")
    with pytest.raises(Refused, match=message) as refusal:
        pod.client.create(changed(artifact(cell, run, keyed), changes))
    assert refusal.value.code == 403


def test_an_artifact_keeps_its_key(cell: Cell) -> None:
    run, pod = cell.run(), cell.pod("run-1")
    pod.client.create(artifact(cell, run, True))
    for key in ("other", None):
        with pytest.raises(Refused) as refusal:
            pod.client.merge("Artifact", cell.namespace, "report", {"spec": {"key": key}})
        assert refusal.value.code == 403


def test_a_run_reads_no_blocks_and_no_secrets_and_deletes_no_artifacts(cell: Cell) -> None:
    run, pod = cell.run(), cell.pod("run-1")
    pod.client.create(artifact(cell, run, True))
    cell.admin.create(good("Block", "prod", cell.namespace))
    secrets = f"/api/v1/namespaces/{cell.namespace}/secrets"
    for forbidden in (
        lambda: pod.client.get("Block", cell.namespace, "prod"),
        lambda: pod.client.list("Block", cell.namespace),
        lambda: pod.client.merge("Block", cell.namespace, "prod", {"spec": {"type": "x"}}),
        lambda: pod.client.request("GET", secrets),
        lambda: pod.client.request("GET", f"{secrets}/x"),
        lambda: pod.client.delete("Artifact", cell.namespace, "report"),
    ):
        with pytest.raises(Refused) as refusal:
            forbidden()
        assert refusal.value.code == 403


def test_code_outside_of_pods_asks_for_the_cluster(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact of a local run names no run that the cluster does not know, and nobody owns it."""
    monkeypatch.setenv("PENSTOCK_API", "cluster")
    monkeypatch.setenv("KUBECONFIG", str(cell.admin.kubeconfig))
    monkeypatch.setenv("PENSTOCK_NAMESPACE", cell.namespace)

    @flow(blocks=["key"])
    def local() -> tuple[str, str]:
        Variable.set("seen", 1)
        Secret(value="h4rd").save("key")
        return create_markdown_artifact("x"), Secret.load("key").get()

    name, secret = local()
    assert secret == "h4rd"
    assert cell.admin.get("Variable", cell.namespace, "seen")["spec"]["value"] == 1
    body = cell.admin.get("Artifact", cell.namespace, name)
    assert body["spec"] == {"type": "markdown", "data": "x"}
    assert "ownerReferences" not in body["metadata"]


def test_the_commands_work_in_a_cluster(cell: Cell, tmp_path: Path) -> None:
    def penstock(*words: str) -> str:
        where = ["--kubeconfig", str(cell.admin.kubeconfig), "-n", cell.namespace]
        done = CliRunner().invoke(cli, [*words, *where])
        assert done.exit_code == 0, done.output
        return done.stdout

    (tmp_path / "secret").write_text("h4rd")
    penstock("variable", "set", "api_url", '{"a": 1}')
    assert penstock("variable", "get", "api_url") == '{"a": 1}\n'
    assert "api-url" in penstock("variable", "ls")
    penstock("block", "save", "penstock.blocks.system:Secret", "key", "--secret", f"value={tmp_path / 'secret'}")
    assert "in Secret penstock-block-key, key value" in penstock("block", "inspect", "key")
    cell.admin.create(artifact(cell, cell.run(), True))
    listed = json.loads(penstock("artifact", "ls", "--run", "run", "-o", "json"))
    assert [(item["kind"], item["metadata"]["name"]) for item in listed["items"]] == [("Artifact", "report")]
    for words in (("variable", "unset", "api_url"), ("block", "delete", "key"), ("artifact", "delete", "report")):
        penstock(*words)
    for kind in ("Variable", "Block", "Artifact"):
        assert cell.admin.list(kind, cell.namespace)["items"] == []


def test_a_person_with_edit_rights_is_held_to_none_of_it(cell: Cell) -> None:
    run = cell.run()
    cell.admin.create(changed(artifact(cell, run, True), {"spec.run": GONE}))
