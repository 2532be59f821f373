"""Flows drawn without running their tasks."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from penstock import flow, task, unmapped
from penstock.errors import FlowVisualizationError, InvalidParameters
from penstock.visualization import Graph


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("a task ran")


extract, load, report = (task(name=name)(never) for name in ("extract", "load", "report"))
rows = task(name="rows", viz_return_value=[1, 2, 3])(never)


@flow(name="etl")
def etl(tables: list[str]) -> Any:
    found = [extract(table) for table in tables]
    loaded = load.submit(found[0], also={"more": [found[1]]})
    report(loaded, wait_for=[found[1]])
    return loaded.result()


def drawn(graph: Graph) -> list[tuple[str, str]]:
    return [(before.label, after.label) for before, after in graph.edges]


EDGES = [
    ("extract-0", "load-0"),
    ("extract-1", "load-0"),
    ("load-0", "report-0"),
    ("extract-1", "report-0"),
]


def test_calls_become_nodes_and_what_they_are_given_edges() -> None:
    graph = etl.visualize(["a", "b"])
    assert [node.text for node in graph.nodes] == ["extract-0", "extract-1", "load-0", "report-0"]
    assert drawn(graph) == EDGES
    assert repr(graph) == "<Graph 'etl': 4 nodes, 4 edges>"


def test_the_graph_is_text_mermaid_and_dot() -> None:
    graph = etl.visualize(["a", "b"])
    assert str(graph).splitlines() == [
        "etl",
        "  extract-0",
        "  extract-1",
        "  load-0  <- extract-0, extract-1",
        "  report-0  <- load-0, extract-1",
    ]
    assert graph.mermaid().splitlines()[:2] == ["flowchart LR", '  n0["extract-0"]']
    assert graph.mermaid().splitlines()[-1] == "  n1 --> n3"
    assert graph.dot().startswith('digraph "etl" {\n  rankdir=LR')
    assert '  n2 [label="load-0"]\n' in graph.dot()
    assert graph.dot().endswith("  n1 -> n3\n}")


def test_names_cannot_break_out_of_their_quotes() -> None:
    odd = task(name='a "quoted" \\ name')(never)

    @flow
    def f() -> None:
        odd()

    graph = f.visualize()
    assert '[label="a \\"quoted\\" \\\\ name-0"]' in graph.dot()
    assert '["a #quot;quoted#quot; \\ name-0"]' in graph.mermaid()


def test_a_value_to_draw_with_is_what_the_task_gives() -> None:
    @flow
    def f() -> None:
        for row in rows():
            load(row)
        load(rows.submit().result())
        load(rows.submit())

    assert drawn(f.visualize()) == [("rows-1", "load-3"), ("rows-2", "load-4")]


def test_none_may_be_that_value() -> None:
    nothing = task(name="nothing", viz_return_value=None)(never)

    @flow
    def f() -> None:
        assert nothing() is None

    assert len(f.visualize().nodes) == 1
    assert nothing.with_options(name="other").viz_return_value is None


def test_a_map_is_one_node() -> None:
    @flow
    def f() -> None:
        first = load.map([1, 2, 3], unmapped(extract()))
        assert len(first.result()) == 3
        report.map(first)
        report.map(extract())

    graph = f.visualize()
    assert [node.text for node in graph.nodes] == [
        "extract-0",
        "load-0 (x 3)",
        "report-0 (x 3)",
        "extract-1",
        "report-1",
    ]
    assert drawn(graph) == [("extract-0", "load-0"), ("load-0", "report-0"), ("extract-1", "report-1")]


def test_async_flows_and_subflows_are_drawn() -> None:
    aload = task(name="aload")(_anever)

    @flow(name="child")
    async def child(value: Any) -> Any:
        return await aload(value)

    @flow(name="plain")
    def plain(value: Any) -> Any:
        return load(value)

    @flow(name="outer")
    async def outer() -> None:
        report(await child(await aload()), plain(extract()))

    graph: Any = outer.visualize()
    graph = asyncio.run(graph)
    assert drawn(graph) == [
        ("aload-0", "child/aload-0"),
        ("extract-0", "plain/load-0"),
        ("child/aload-0", "report-0"),
        ("plain/load-0", "report-0"),
    ]


async def _anever(*_: Any) -> Any:
    raise AssertionError("a task ran")


def _use_as_condition(value: Any) -> None:
    if value:
        pass


@pytest.mark.parametrize(
    "use",
    [_use_as_condition, list, lambda v: v + 1, lambda v: v["a"], lambda v: v.name, lambda v: v > 1, str, len],
    ids=["if", "iterate", "add", "item", "attribute", "compare", "text", "length"],
)
def test_a_flow_that_needs_a_value_says_which_and_how(use: Any) -> None:
    @flow
    def f() -> None:
        use(extract())

    with pytest.raises(FlowVisualizationError, match=r"needs the value of task extract-0 .* viz_return_value="):
        f.visualize()


def test_parameters_are_validated_and_afterwards_tasks_run_again() -> None:
    @flow
    def f(n: int) -> int:
        assert n == 1
        return one()

    @task
    def one() -> int:
        return 1

    assert len(f.visualize("1").nodes) == 1  # type: ignore[arg-type]
    with pytest.raises(InvalidParameters):
        f.visualize("x")  # type: ignore[arg-type]
    assert f(1) == 1


def test_without_graphviz_an_image_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlowVisualizationError, match=r"needs Graphviz .* use \.mermaid\(\)"):
        etl.visualize(["a", "b"]).render(tmp_path / "graph.png")


def test_graphviz_is_given_the_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text(f'#!{shutil.which("sh")}\necho "$1" > "$3"; {shutil.which("cat")} >> "$3"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    graph = etl.visualize(["a", "b"])
    assert graph.render(tmp_path / "graph.svg").read_text() == f"-Tsvg\n{graph.dot()}"
    assert graph.render(tmp_path / "graph", format="pdf").read_text().startswith("-Tpdf\n")


def test_tasks_in_other_processes_know_their_option() -> None:
    import pickle

    from penstock.definitions import UNSET

    assert pickle.loads(pickle.dumps(UNSET)) is UNSET
