"""`penstock watch`, and the view that `penstock run --watch` shares with it: a run followed live until its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import click

from ..client import Client
from ..kubeconfig import ClusterUnavailable
from .lookup import RUN, find, name_argument
from .options import output_option, with_client
from .rendering import COLOURS, Body, instant, show, state_of, terminal, untold, utc_now, waits_for
from .show import lines as full
from .show import pages_of

if TYPE_CHECKING:
    from rich.console import RenderableType

WATCH_SECONDS = 300
PAUSE_SECONDS = 0.5  # between two watches: one that is cut at once must not become a storm
REDRAW = 0.25


@click.command("watch")
@name_argument(RUN, "run")
@output_option("json", "yaml", unset="what happens as it happens")
@with_client
def command(client: Client, run: str, output: str | None) -> None:
    """Follow a run until it ends. Exit code 0 when it completed, 1 otherwise. With -o, print its end alone."""
    follow(client, find(client, RUN, run), output)


def follow(client: Client, run: Body, output: str | None = None) -> NoReturn:
    """Show a run until its end and exit by it; interrupting leaves the run going."""
    view = _Quiet() if output else _Live() if sys.stdout.isatty() else _Lines()
    name = run["metadata"]["name"]
    try:
        with view:
            for body in _changes(client, run):
                run = body
                view.show(run)
    except KeyboardInterrupt:
        click.echo(f"\n{name} goes on. See it again: penstock watch {name}; end it: penstock cancel {name}", err=True)
        sys.exit(130)
    click.echo(show(run, output) if output else "\n".join(full(run, pages_of(client, run))))
    sys.exit(0 if state_of(run).get("type") == "Completed" else 1)


def _changes(client: Client, run: Body) -> Iterator[Body]:
    """The run each time it changes, until its end."""
    name = run["metadata"]["name"]
    while True:
        yield run
        if terminal(run):
            return
        for event in client.watch(RUN.plural, name, run["metadata"]["resourceVersion"], WATCH_SECONDS):
            if event["type"] == "DELETED":
                raise click.ClickException(f"run {name} was deleted")
            run = event["object"]
            yield run
            if terminal(run):
                return
        time.sleep(PAUSE_SECONDS)
        with suppress(ClusterUnavailable):  # it goes on without us
            run = client.get(RUN.plural, name)


def explanation(run: Body) -> list[str]:
    """Why the run does not go on, as its conditions tell."""
    return [*(f"waits for {text}" for text in waits_for(run)), *(f"{c['reason']}: {c['message']}" for c in untold(run))]


def elapsed(run: Body, now: datetime) -> str:
    """Seconds since the run was made."""
    return f"{max(0, int((now - instant(run['metadata']['creationTimestamp'])).total_seconds()))}s"


def _words(entry: Body) -> list[str]:
    """Time, name, and what there is to say about an entry of the history."""
    more = entry.get("message") or entry.get("reason") or ""
    return [entry["time"][11:19], entry["name"], *([more] if more not in ("", entry["name"]) else [])]


class _Quiet:
    """Nothing until the end; for programs."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, run: Body) -> None:  # noqa: ARG002 - as the other views have it
        return None


class _Lines:
    """A line for each thing that is new; for files and pipes."""

    def __init__(self) -> None:
        self._seq = 0
        self._told: set[str] = set()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, run: Body) -> None:
        for entry in (run.get("status") or {}).get("history") or []:
            if entry["seq"] > self._seq:
                self._seq = entry["seq"]
                click.echo("  ".join(_words(entry)))
        for text in explanation(run):
            if text not in self._told:
                self._told.add(text)
                click.echo(f"          {text}")


class _Live:
    """A panel that is drawn again as the run changes."""

    def __init__(self) -> None:
        from rich.live import Live

        self._run: Body | None = None
        self._live = Live(get_renderable=self._draw, refresh_per_second=1 / REDRAW, transient=True)

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, run: Body) -> None:
        self._run = run
        self._live.refresh()

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.text import Text

        if self._run is None:
            return Text("")
        run, state = self._run, state_of(self._run)
        status = run.get("status") or {}
        colour = COLOURS.get(state.get("type", ""), "white")
        head = Text.assemble(
            (f" {run['metadata']['name']}  ", "bold"),
            (state.get("name", "waiting for the operator"), colour),
            (f"  {elapsed(run, utc_now())}", "dim"),
        )
        parts: list[RenderableType] = [Spinner("dots", text=head)]
        for entry in status.get("history") or []:
            parts.append(Text("   " + "  ".join(_words(entry)), style="dim"))
        tasks = status.get("tasks") or {}
        if tasks.get("total"):
            done = int(tasks["summary"].partition("/")[0])
            parts.append(Text(f"   tasks {tasks['summary']}"))
            parts.append(ProgressBar(total=tasks["total"], completed=done, width=50))
        parts += [Text(f"   {text}", style="yellow") for text in explanation(run)]
        return Group(*parts)
