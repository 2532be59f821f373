"""What `--archived` adds to commands: runs that the operator has archived, by the lines of their records.

No cluster is asked; the kubeconfig only names the namespace, where `-n` does not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import click

from ..archive.reading import Archive
from ..kubeconfig import access
from ..settings import get_current_settings
from .lookup import RUN, NoSuchObject, plain
from .rendering import Body


def archive_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which archive, and which days; passed as one `archived`, None where `--archived` is not given.

    Beneath `options.cluster_options`, whose values go with it.
    """

    @click.option("--archived", is_flag=True, help="Look into the archive instead of the cluster.")
    @click.option("--archive", "url", help="URL of the archive; PENSTOCK_ARCHIVE when unset.")
    @click.option("--since", metavar="DATE", help="Of the archive: only runs that ended on this day (UTC) or later.")
    @click.option("--until", metavar="DATE", help="Of the archive: only runs that ended on this day (UTC) or before.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, archived: bool, url: str | None, since: str | None, until: str | None, **kwargs: Any
    ) -> Any:
        if not archived:
            for option, value in (("--archive", url), ("--since", since), ("--until", until)):
                if value:
                    raise click.UsageError(f"{option} is of the archive: add --archived")
            return command(*args, archived=None, **kwargs)
        where = url or get_current_settings().archive
        if not where:
            raise click.UsageError("which archive? Give --archive URL, or set PENSTOCK_ARCHIVE")
        namespace = kwargs["namespace"] or access(kwargs["kubeconfig"], kwargs["context"]).namespace
        days = (_day("--since", since), _day("--until", until))
        return command(*args, archived=ArchivedRuns(Archive.at(where), namespace, *days), **kwargs)

    return wrapped


def _day(option: str, text: str | None) -> str:
    if not text:
        return ""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.UsageError(f"{option} {text}: a day is wanted, such as 2026-01-31") from None


class ArchivedRuns:
    """The archived runs of a namespace that ended on certain days."""

    def __init__(self, archive: Archive, namespace: str, since: str, until: str) -> None:
        self._archive, self.namespace, self._since, self._until = archive, namespace, since, until

    @property
    def place(self) -> str:
        """Where they are, for messages."""
        days = [f"since {self._since}"] * bool(self._since) + [f"until {self._until}"] * bool(self._until)
        return " ".join((f"of namespace {self.namespace} in {self._archive.url}", *days))

    def latest(self, deployment: str | None, states: Iterable[str], limit: int) -> list[Body]:
        """The latest runs, as objects, the latest first."""
        words = {state.lower() for state in states}

        def wanted(head: Body) -> bool:
            named = {str(head.get(key) or "").lower() for key in ("state", "state_name")}
            return deployment in (None, head.get("deployment")) and (not words or bool(words & named))

        heads = self._archive.runs(self.namespace, wanted, limit, self._since, self._until)
        return [head["object"] for head in heads]

    def run(self, text: str) -> tuple[Body, list[Body]]:
        """The latest run of a name, and its pages of task records. Raises NoSuchObject."""
        name = plain(RUN, text)
        address = self._archive.find(self.namespace, name, self._since, self._until)
        lines = self._archive.lines(address) if address else []
        if not lines:
            raise NoSuchObject(f"there is no run {name} {self.place}")
        return lines[0]["object"], [line["object"] for line in lines if line["kind"] == "TaskRunPage"]
