"""`flow.visualize(...)`: the graph of the tasks that a call makes, drawn without running any of them.

The flow's own code runs; in it a task call adds a node and gives what its `viz_return_value` says, or a stand-in that
later calls recognise. A flow that needs a task's real value cannot be drawn without a `viz_return_value`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .context import DRAWING
from .definitions import UNSET
from .errors import FlowVisualizationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .flows import Flow
    from .tasks import Task

__all__ = ["Graph", "Node", "StandIn"]

_SHARED = (bool, int, float, str, bytes, type(None))  # values that may be the same object for many reasons


class Node:
    """One task call, or one `.map`."""

    __slots__ = ("id", "label", "times", "upstream")

    def __init__(self, id: str, label: str, upstream: tuple[Node, ...], times: int | None = None) -> None:
        self.id, self.label, self.upstream, self.times = id, label, upstream, times

    @property
    def text(self) -> str:
        """`load-0`, or `load-0 (x 3)` for a map over three."""
        return self.label if self.times is None else f"{self.label} (x {self.times})"


class Graph:
    """The tasks of one call and what they wait for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []

    @property
    def edges(self) -> list[tuple[Node, Node]]:
        """(from, to), in order of the calls."""
        return [(before, node) for node in self.nodes for before in node.upstream]

    def text(self) -> str:
        """A line for each task, with what it waits for."""
        lines = [self.name]
        for node in self.nodes:
            after = f"  <- {', '.join(before.label for before in node.upstream)}" if node.upstream else ""
            lines.append(f"  {node.text}{after}")
        return "\n".join(lines)

    def mermaid(self) -> str:
        """The graph as Mermaid, which Markdown viewers draw."""
        lines = ["flowchart LR"]
        lines += [f'  {node.id}["{_escaped(node.text, "#quot;")}"]' for node in self.nodes]
        lines += [f"  {before.id} --> {after.id}" for before, after in self.edges]
        return "\n".join(lines)

    def dot(self) -> str:
        """The graph as DOT, for Graphviz."""
        quote = '\\"'
        lines = [f'digraph "{_escaped(self.name, quote)}" {{', "  rankdir=LR", "  node [shape=box]"]
        lines += [f'  {node.id} [label="{_escaped(node.text, quote)}"]' for node in self.nodes]
        lines += [f"  {before.id} -> {after.id}" for before, after in self.edges]
        return "\n".join([*lines, "}"])

    def render(self, path: str | Path, format: str | None = None) -> Path:
        """Write an image by Graphviz' `dot`; the format is the path's suffix, or png."""
        import shutil
        import subprocess
        from pathlib import Path

        program = shutil.which("dot")
        if program is None:
            raise FlowVisualizationError(
                "drawing an image needs Graphviz (the program dot); without it use .mermaid(), .dot() or .text()"
            )
        target = Path(path)
        kind = format or target.suffix.removeprefix(".") or "png"
        subprocess.run([program, f"-T{kind}", "-o", str(target)], input=self.dot(), text=True, check=True)
        return target

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self.nodes)} nodes, {len(self.edges)} edges>"


def _escaped(text: str, quote: str) -> str:
    return text.replace("\\", "\\\\" if quote == '\\"' else "\\").replace('"', quote)


def _unusable(name: str) -> Any:
    def method(self: StandIn, *_: object, **__: object) -> Any:
        raise FlowVisualizationError(
            f"the flow needs the value of task {self.node.label} to go on ({name}): "
            f"give the task viz_return_value=..., a value to draw with"
        )

    return method


class StandIn:
    """What a task gives while it is drawn, as a value and as a future. Using it as a real value is an error."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def result(self, *_: object, **__: object) -> StandIn:
        """A future's result: the same stand-in."""
        return self

    def wait(self, *_: object, **__: object) -> None:
        """A future that is drawn is done."""

    def done(self) -> bool:
        """A future that is drawn is done."""
        return True

    def __await__(self) -> Any:
        return self
        yield

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unusable(f".{name}")(self)

    def __repr__(self) -> str:
        return f"<what {self.node.label} gives>"


_VALUE_LIKE = """
add radd sub rsub mul rmul truediv floordiv mod pow matmul neg lt le gt ge eq ne bool len iter
getitem contains int float str format index call enter
"""
for _operation in _VALUE_LIKE.split():
    setattr(StandIn, f"__{_operation}__", _unusable(_operation))


class ValueFuture:
    """A future of a task with a `viz_return_value`."""

    def __init__(self, value: Any, node: Node) -> None:
        self.value, self.node = value, node

    def result(self, *_: object, **__: object) -> Any:
        """The value to draw with."""
        return self.value

    def wait(self, *_: object, **__: object) -> None:
        """A future that is drawn is done."""

    def done(self) -> bool:
        """A future that is drawn is done."""
        return True


class Futures(list[Any]):
    """What a drawn `.map` gives."""

    def result(self, *_: object, **__: object) -> list[Any]:
        """The results, in order."""
        return [future.result() for future in self]

    def wait(self, *_: object, **__: object) -> None:
        """Futures that are drawn are done."""


class Drawing:
    """A graph that grows with the calls of a flow."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self._prefix: list[str] = []
        self._calls: dict[str, int] = {}
        self._made: dict[int, tuple[Any, Node]] = {}  # values by identity, kept so that identities stay theirs

    def call(self, task: Task[Any, Any], args: Any, kwargs: Any) -> Any:
        """A task is called: its node, and what it gives."""
        value = self._value(task, self._node(task, args, kwargs))
        return _awaited(value) if task.isasync else value

    def submit(self, task: Task[Any, Any], args: Any, kwargs: Any) -> Any:
        """A task is submitted."""
        node = self._node(task, args, kwargs)
        value = self._value(task, node)
        return value if isinstance(value, StandIn) else ValueFuture(value, node)

    def map(self, task: Task[Any, Any], args: Any, kwargs: Any) -> Futures:
        """A task is mapped: one node, with as many futures as the shortest thing that it is mapped over."""
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, list | tuple | set | dict | range)]
        times = min(map(len, given), default=None)
        node = self._node(task, args, kwargs, 1 if times is None else times)
        if times is None:  # mapped over a stand-in: nobody knows how many
            node.times = None
        value = self._value(task, node)
        one = value if isinstance(value, StandIn) else ValueFuture(value, node)
        return Futures([one] * (1 if times is None else times))

    @contextmanager
    def inside(self, flow: Flow[Any, Any]) -> Iterator[None]:
        """A subflow's tasks carry its name."""
        self._prefix.append(flow.name)
        try:
            yield
        finally:
            self._prefix.pop()

    def _node(self, task: Task[Any, Any], args: Any, kwargs: Any, times: int | None = None) -> Node:
        name = "/".join((*self._prefix, task.name))
        number = self._calls.get(name, 0)
        self._calls[name] = number + 1
        upstream = tuple(dict.fromkeys(self._found((args, kwargs), set())))
        node = Node(f"n{len(self.graph.nodes)}", f"{name}-{number}", upstream, times)
        self.graph.nodes.append(node)
        return node

    def _value(self, task: Task[Any, Any], node: Node) -> Any:
        value = task.viz_return_value
        if value is UNSET:
            return StandIn(node)
        if not isinstance(value, _SHARED):
            self._made[id(value)] = (value, node)
        return value

    def _found(self, value: Any, seen: set[int]) -> Iterator[Node]:
        if isinstance(value, StandIn | ValueFuture):
            yield value.node
            return
        if id(value) in seen:
            return
        if id(value) in self._made:
            yield self._made[id(value)][1]
        seen = {*seen, id(value)}
        if isinstance(value, dict):
            value = [*value.values()]
        elif hasattr(value, "value") and hasattr(value, "unwrap"):  # unmapped(...) and its kin
            value = [value.value]
        if isinstance(value, list | tuple | set | frozenset):
            for item in value:
                yield from self._found(item, seen)


async def _awaited(value: Any) -> Any:
    return value


def visualize(flow: Flow[Any, Any], args: Any, kwargs: Any) -> Any:
    """The graph of this call of the flow; for an async flow something to await."""
    parameters = flow.signature.bind(args, kwargs)
    if flow.validate_parameters and flow.annotated:
        from .parameters import validate

        parameters = validate(flow.signature, parameters)
    drawing = Drawing(flow.name)
    positional, named = flow.signature.arguments(parameters)
    if flow.isasync:
        return _draw_async(flow, drawing, positional, named)
    token = DRAWING.set(drawing)
    try:
        value = flow.fn(*positional, **named)
        if flow.isgenerator:
            for _ in value:
                pass
    finally:
        DRAWING.reset(token)
    return drawing.graph


async def _draw_async(flow: Flow[Any, Any], drawing: Drawing, args: Any, kwargs: Any) -> Graph:
    token = DRAWING.set(drawing)
    try:
        value = flow.fn(*args, **kwargs)
        if flow.isgenerator:
            async for _ in value:
                pass
        else:
            await value
    finally:
        DRAWING.reset(token)
    return drawing.graph


def draw_subflow(drawing: Drawing, flow: Flow[Any, Any], args: Any, kwargs: Any) -> Any:
    """A flow calls another while it is drawn: its tasks are drawn with it."""
    if flow.isasync and not flow.isgenerator:
        return _draw_async_subflow(drawing, flow, args, kwargs)
    with drawing.inside(flow):
        value = flow.fn(*args, **kwargs)
        return list(value) if flow.isgenerator and not flow.isasync else value


async def _draw_async_subflow(drawing: Drawing, flow: Flow[Any, Any], args: Any, kwargs: Any) -> Any:
    with drawing.inside(flow):
        return await flow.fn(*args, **kwargs)
