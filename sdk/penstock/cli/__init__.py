"""The `penstock` command, which is also `kubectl penstock`. Each command is a module, imported when it is used."""

from __future__ import annotations

import importlib
import os
import sys

import click

from ..errors import PenstockError
from ..settings import get_current_settings
from .suggestions import instead

# command -> its help in one line; each is the module of that name in this package
COMMANDS = {
    "artifact": "List and show what runs have shown.",
    "backfills": "Make runs of the past of a schedule.",
    "block": "List, show, save and delete blocks.",
    "build": "Print the manifests of flows, for kubectl apply.",
    "cancel": "Ask runs to end.",
    "completion": "Make a shell complete commands and names.",
    "deploy": "Apply flows, or what penstock.yaml says.",
    "deployments": "List deployments; show, suspend, resume them.",
    "flows": "List and show flows.",
    "init": "Write a penstock.yaml for the flows of a folder.",
    "limits": "List limits of which runs take slots; create, show, reset them.",
    "logs": "Show the logs of a run.",
    "pools": "List work pools; create, show, suspend them.",
    "queues": "List work queues; create, show, suspend them.",
    "rollback": "Deploy again what was deployed before.",
    "retry": "Run an ended run again; tasks keep their results.",
    "resume": "Answer a run that waits for a person.",
    "run": "Start a run, here or in the cluster.",
    "runs": "List runs, and whatever is done with one.",
    "schedules": "List schedules; preview, suspend, resume them.",
    "serve": "Deploy flows and run them here, until Ctrl-C.",
    "show": "Show everything about a run.",
    "suspend": "Ask runs to stop, and to go on later.",
    "variable": "Read and write variables.",
    "version": "Show the versions of the command and of the API.",
    "watch": "Follow a run until it ends.",
    "worker": "List warm workers, and be one.",
}

# What kubectl and Prefect call these commands
ALIASES = {
    "artifacts": "artifact",
    "backfill": "backfills",
    "blocks": "block",
    "deployment": "deployments",
    "flow": "flows",
    "flow-run": "runs",
    "pool": "pools",
    "queue": "queues",
    "schedule": "schedules",
    "variables": "variable",
    "work-pool": "pools",
    "limit": "limits",
    "concurrency-limit": "limits",
    "global-concurrency-limit": "limits",
    "work-queue": "queues",
}

EPILOG = """\b
Exit codes: 0 done; 1 the command failed, or a watched run did not complete; 2 wrong usage;
3 deploy --diff found differences; 130 interrupted, the run goes on.
PENSTOCK_DEBUG=1 shows tracebacks of errors, NO_COLOR=1 no colours."""


class Lazy(click.Group):
    """Imports a command's module only when it is asked for, so that help and completion are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - Click's
        name = ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".{name}", __name__).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options of which cluster before the command too, as kubectl does."""
        where, rest = list[str](), list(args)
        while rest and rest[0].partition("=")[0] in ("-n", "--namespace", "--context", "--kubeconfig"):
            taken = 1 if "=" in rest[0] else 2
            where, rest = [*where, *rest[:taken]], rest[taken:]
        if not rest or rest[0].startswith("-"):  # no command that could take them
            return super().parse_args(ctx, rest)
        end = rest.index("--") if "--" in rest else len(rest)
        return super().parse_args(ctx, [*rest[:end], *where, *rest[end:]])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = ALIASES.get(args[0], args[0])
        if word not in COMMANDS and not word.startswith("-"):
            raise click.UsageError(f"there is no command {word}; {instead(word, sorted(COMMANDS), '')}", ctx)
        return super().resolve_command(ctx, [word, *args[1:]])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `| head` has seen enough; Click would call it a failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - Click's
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=Lazy,
    name="penstock",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Deploy Python flows to Kubernetes, run them, and see what they do."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """Entry point. An error of Penstock's is one line and exit code 1."""
    plugin = os.path.basename(sys.argv[0]).startswith("kubectl-")  # noqa: PTH119 - pathlib is not worth its import
    try:
        cli.main(prog_name="kubectl penstock" if plugin else "penstock", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.UsageError as error:
        if error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", err=True)
        _tell(error.format_message())
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _tell(error.format_message())
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except PenstockError as error:
        if get_current_settings().debug:
            raise
        _tell(str(error))
        sys.exit(1)


def _tell(error: str) -> None:
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style('error', fg='red')}: {error}", err=True, color=colour)
