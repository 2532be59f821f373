"""`penstock version`."""

from __future__ import annotations

from importlib.metadata import version

import click

from ..api import labels


@click.command("version")
def command() -> None:
    """Show the versions of the command and of the API it speaks."""
    click.echo(f"penstock {version('penstock')}, API {labels.API_VERSION}")
