"""Artifacts on this machine: what is kept of each type, under which name, and what is refused."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest

from penstock import artifacts, flow, task
from penstock.api.artifact import ArtifactSpec
from penstock.api.schema import DNS_LABEL
from penstock.artifacts import (
    Artifact,
    ImageArtifact,
    LinkArtifact,
    MarkdownArtifact,
    TableArtifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from penstock.errors import InvalidResource, ResourceNotFound
from penstock.events import Event

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))


def kept(tmp_path: Path) -> dict[str, Json]:
    """Every artifact's manifest by name."""
    bodies = [json.loads(path.read_text()) for path in (tmp_path / "artifacts").glob("*.json")]
    return {body["metadata"]["name"]: body for body in bodies}


@pytest.mark.parametrize(
    ("create", "type_", "data"),
    [
        (lambda: create_markdown_artifact("# Hi", key="k"), "markdown", "# Hi"),
        (lambda: create_link_artifact("https://x.example", key="k"), "link", "[https://x.example](https://x.example)"),
        (lambda: create_link_artifact("https://x.example", "x", "k"), "link", "[x](https://x.example)"),
        (lambda: create_image_artifact("https://x.example/i.png", key="k"), "image", "https://x.example/i.png"),
        (lambda: create_progress_artifact(12.5, key="k"), "progress", 12.5),
        (lambda: create_table_artifact([{"a": 1}, {"a": None}], key="k"), "table", [{"a": 1}, {"a": None}]),
        (lambda: create_table_artifact({"b": [1], "a": (3,)}, key="k"), "table", [{"b": 1, "a": 3}]),
        (
            lambda: create_table_artifact([[1, float("nan")], [float("inf"), "x"]], "k"),
            "table",
            [[1, None], [None, "x"]],
        ),
        (
            lambda: create_table_artifact([{"d": date(2026, 1, 2), 3: {4}}], "k"),
            "table",
            [{"d": "2026-01-02", "3": "{4}"}],
        ),
    ],
)
def test_what_is_kept_of_each_type(create: Any, type_: str, data: Any) -> None:
    assert create() == "k"
    found = Artifact.get("k")
    assert found is not None
    assert (found.id, found.key, found.type, found.data) == ("k", "k", type_, data)


def test_the_classes_do_the_same() -> None:
    for artifact in (MarkdownArtifact("m"), LinkArtifact("l"), TableArtifact([]), ImageArtifact("i")):
        made = artifact.create()
        assert made is artifact
        assert made.id is not None
    again = Artifact("markdown", key="k", data="x").create()
    assert repr(again) == "Artifact(type='markdown', key='k', id='k')"


def test_a_key_is_one_artifact_with_the_newest_content(tmp_path: Path) -> None:
    create_markdown_artifact("old", key="k", description="first")
    create_markdown_artifact("new", key="k")
    found = Artifact.get("k")
    assert found is not None
    assert (found.data, found.description) == ("new", None)
    assert list(kept(tmp_path)) == ["k"]


def test_a_key_keeps_its_type() -> None:
    create_markdown_artifact("x", key="k")
    with pytest.raises(InvalidResource, match=r"artifact key 'k' is of type markdown .*: choose another key"):
        create_link_artifact("x", key="k")


def test_the_name_of_an_artifact_without_a_key_is_no_key() -> None:
    name = create_markdown_artifact("x")
    with pytest.raises(InvalidResource, match="is the name of an artifact without a key"):
        create_markdown_artifact("y", key=name)


def test_get_or_create_makes_it_once() -> None:
    first, made = Artifact.get_or_create("k", type="markdown", data="x", description="d")
    second, again = Artifact.get_or_create("k", type="markdown", data="y")
    assert (made, again) == (True, False)
    assert (first.data, second.data, second.description) == ("x", "x", "d")
    table, made = TableArtifact.get_or_create("t", table=[{"a": 1}])
    assert (made, table.data) == (True, [{"a": 1}])
    assert Artifact.get("none") is None


def test_progress_moves_and_may_be_described_anew() -> None:
    bar = create_progress_artifact(0, key="bar", description="rows")
    assert update_progress_artifact(bar, 40) == bar
    found = Artifact.get("bar")
    assert found is not None
    assert (found.data, found.description) == (40, "rows")
    update_progress_artifact(bar, 100.0, "done")
    found = Artifact.get("bar")
    assert found is not None
    assert (found.data, found.description) == (100.0, "done")


@pytest.mark.parametrize("progress", [-0.1, 100.1, float("nan"), "50", None, True])
def test_a_percentage_is_one(progress: Any) -> None:
    bar = create_progress_artifact(0)
    for call in (lambda: create_progress_artifact(progress), lambda: update_progress_artifact(bar, progress)):
        with pytest.raises(InvalidResource, match="a percentage from 0 to 100"):
            call()


def test_progress_of_what_is_not_there() -> None:
    with pytest.raises(ResourceNotFound, match=r"artifact none is not in .*: create it first"):
        update_progress_artifact("none", 1)
    for wrong in ("../x", "", 3, "A"):
        with pytest.raises(InvalidResource, match="give what create_progress_artifact returned"):
            update_progress_artifact(wrong, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "A", "a_b", "a b", "-a", "a-", "a.b", "../a", "x" * 64, 3])
def test_keys_are_refused_with_the_rule(key: Any) -> None:
    for call in (lambda: create_markdown_artifact("x", key=key), lambda: Artifact.get(key)):
        with pytest.raises(InvalidResource, match=r"artifact key .*: lower-case letters, digits and dashes"):
            call()


@pytest.mark.parametrize(
    ("create", "said"),
    [
        (lambda: create_markdown_artifact("ü" * 131_073), "data has 262148 bytes of JSON, and may have 262144: show"),
        (lambda: create_markdown_artifact("x", description="x" * 32_769), "description: a text of at most 32768"),
        (lambda: create_table_artifact("rows"), "table: a list of rows or a mapping of columns, not str"),
        (lambda: create_markdown_artifact({1}), "data is no JSON"),  # type: ignore[arg-type]
        (lambda: Artifact("video", data="x").create(), "type 'video': it is one of markdown, table, link"),
    ],
    ids=["too large", "a long description", "no table", "no JSON", "an unknown type"],
)
def test_content_is_refused_with_the_remedy(create: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidResource, match=f"artifact {said}"):
        create()
    assert kept(tmp_path) == {}


def test_the_bounds_are_those_of_the_kind() -> None:
    fields = ArtifactSpec.model_fields
    (label, _) = get_args(fields["key"].annotation)
    (text, _) = get_args(fields["description"].annotation)
    assert f"max_length={artifacts.MAX_KEY}" in repr(label) + repr(fields["key"])
    assert artifacts._KEY.pattern == DNS_LABEL.strip("^$")
    assert f"max_length={artifacts.MAX_DESCRIPTION}" in repr(text) + repr(fields["description"])
    assert get_args(fields["type"].annotation) == artifacts.TYPES


def test_a_run_and_its_task_run_are_noted() -> None:
    @task
    def inner() -> str:
        return create_markdown_artifact("x", key="of-task")

    @flow
    def outer() -> tuple[Any, Any]:
        create_markdown_artifact("x", key="of-flow")
        inner()
        return Artifact.get("of-flow"), Artifact.get("of-task")

    of_flow, of_task = outer()
    assert of_flow.flow_run_name == of_task.flow_run_name
    assert of_flow.flow_run_name.startswith("outer-")
    assert of_flow.flow_run_id == of_task.flow_run_id
    assert of_flow.task_run_id is None
    assert of_task.task_run_id


def test_artifacts_without_a_key_are_each_their_own(tmp_path: Path) -> None:
    @task
    def inner(n: int) -> str:
        return create_markdown_artifact(f"task {n}")

    @flow
    def outer() -> list[str]:
        mine = [create_markdown_artifact(f"flow {n}") for n in range(3)]
        return mine + [future.result() for future in inner.map([1, 2, 3])]

    names = outer()
    assert len(set(names)) == 6
    assert {body["spec"]["data"] for body in kept(tmp_path).values()} == {
        *(f"flow {n}" for n in range(3)),
        *(f"task {n}" for n in (1, 2, 3)),
    }


def test_a_try_writes_over_what_the_one_before_has_shown(tmp_path: Path) -> None:
    tries: list[str] = []

    @task(retries=2, retry_delay_seconds=0)
    def inner() -> str:
        name = create_markdown_artifact(f"try {len(tries)}")
        tries.append(name)
        if len(tries) < 3:
            raise ValueError("again")
        return name

    @flow
    def outer() -> str:
        return inner()

    assert {outer()} == set(tries)
    assert [body["spec"]["data"] for body in kept(tmp_path).values()] == ["try 2"]


def test_task_runs_that_share_a_name_keep_their_artifacts_apart() -> None:
    @task(task_run_name="same")
    def inner(n: int) -> str:
        return create_markdown_artifact(str(n))

    @flow
    def outer() -> list[str]:
        return [inner(n) for n in range(4)]

    assert len(set(outer())) == 4


def test_async_callers_await_either_name() -> None:
    @flow
    async def outer() -> Any:
        bar = await acreate_progress_artifact(0, key="bar")
        await aupdate_progress_artifact(bar, 5)
        await update_progress_artifact(bar, 7)  # type: ignore[misc] # as in Prefect, typed for sync callers
        await acreate_table_artifact([[1]], key="t")
        await create_markdown_artifact("x", key="m")  # type: ignore[misc]
        made = await MarkdownArtifact("y", key="n").acreate()
        found = [await Artifact.aget(key) for key in ("bar", "t", "m")]
        _, new = await Artifact.aget_or_create("n", type="markdown", data="z")
        return [artifact.data for artifact in found if artifact], made.data, new

    assert asyncio.run(outer()) == ([7, [[1]], "x"], "y", False)


class InPod:
    """The resources of this machine, as if they were those of a run's pod."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.run = {"name": "run", "uid": "run-uid", "attempt": 1}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TestEvents:
    """In a pod each artifact that is created or updated is told of; on a machine there is nobody to tell."""

    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
        from penstock import events, resources

        where = InPod(resources.current())
        monkeypatch.setattr(resources, "current", lambda: where)
        found: list[Event] = []
        monkeypatch.setattr(events, "_listeners", [found.append])
        return found

    def test_creation_and_update_with_what_it_is(self, told: list[Event]) -> None:
        create_markdown_artifact("# One", key="report", description="x" * 2000)
        create_markdown_artifact("# Two", key="report")
        unkeyed = create_table_artifact([{"a": 1}])
        assert [(event.event, event.resource["penstock.resource.id"]) for event in told] == [
            ("penstock.artifact.created", "penstock.artifact.report"),
            ("penstock.artifact.updated", "penstock.artifact.report"),
            ("penstock.artifact.created", f"penstock.artifact.{unkeyed}"),
        ]
        assert told[0].payload == {"type": "markdown", "key": "report", "description": "x" * 1024}
        assert told[2].payload == {"type": "table"}
        assert told[2].resource["penstock.resource.name"] == unkeyed

    def test_of_a_percentage_its_beginning_and_its_end(self, told: list[Event]) -> None:
        bar = create_progress_artifact(0)
        for percent in (10, 50, 100):
            update_progress_artifact(bar, percent)
        assert [event.event for event in told] == ["penstock.artifact.created", "penstock.artifact.updated"]

    def test_nobody_is_told_on_a_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from penstock import events

        found: list[Event] = []
        monkeypatch.setattr(events, "_listeners", [found.append])
        create_markdown_artifact("# One", key="report")
        assert found == []
