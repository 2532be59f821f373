"""`penstock completion`: what makes a shell complete commands, options and the names of objects in the cluster."""

from __future__ import annotations

import sys

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PENSTOCK_COMPLETE"
# Directives of kubectl's plugins, which are cobra's: 0 lets the shell offer files, 4 does not.
FILES, NO_FILES = 0, 4


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes a shell complete.

    \b
    bash: echo 'eval "$(penstock completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(penstock completion zsh)"' >> ~/.zshrc
    fish: penstock completion fish > ~/.config/fish/completions/penstock.fish

    `kubectl penstock` is completed by kubectl itself, where kubectl_complete-penstock is on the PATH.
    """
    from . import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "penstock", VARIABLE).source())


def kubectl(words: list[str] | None = None) -> None:
    """Entry point of `kubectl_complete-penstock`: kubectl asks with the words so far, the last being incomplete."""
    from . import cli

    *before, incomplete = (sys.argv[1:] if words is None else words) or [""]
    found = ShellComplete(cli, {}, "penstock", VARIABLE).get_completions(before, incomplete)
    click.echo("\n".join([*map(_line, (item for item in found if item.type == "plain")), f":{_directive(found)}"]))


def _line(item: CompletionItem) -> str:
    return f"{item.value}\t{item.help}" if item.help else str(item.value)


def _directive(found: list[CompletionItem]) -> int:
    return FILES if any(item.type != "plain" for item in found) else NO_FILES
