"""The command as a whole: its list of commands, its errors and exit codes, and its entry points."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_line import CommandLine
from https_server import Cluster
from penstock import cli
from penstock.cli import ALIASES, COMMANDS
from penstock.cli.objects import Listing
from penstock.cli.suggestions import listed

MODULES = {path.stem for path in Path(str(cli.__file__)).parent.glob("*.py")}


def test_help_lists_every_command_and_the_exit_codes(penstock: CommandLine) -> None:
    said = penstock.ok("--help")
    for name, text in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", said, re.MULTILINE)
    assert "Exit codes: 0 done; 1 the command failed" in said
    assert penstock.ok("-h") == said


def test_commands_without_words_show_the_help(penstock: CommandLine) -> None:
    said = penstock()
    assert said.code == 2
    assert "Commands:" in said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_the_module_of_its_name(name: str, penstock: CommandLine) -> None:
    assert name in MODULES
    said = penstock.ok(name, "--help")
    assert said.startswith(f"Usage: penstock {name} ")
    assert penstock.ok(name, "-h") == said


NO_CLUSTER = {"build", "completion", "init", "version"}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NO_CLUSTER))
def test_whatever_needs_a_cluster_takes_kubectls_options(name: str, penstock: CommandLine) -> None:
    subs = [words.split()[1:] for words, _ in described(name, cli.cli.get_command(click.Context(cli.cli), name))]
    said = penstock.ok(name, *subs[min(1, len(subs) - 1)], "--help")
    for option in ("-n, --namespace", "--context", "--kubeconfig"):
        assert option in said


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "show", "r", "-n", "other"),
        ("-n", "other", "runs", "show", "r"),
        ("--namespace=other", "show", "r"),
        ("--namespace", "other", "--context", "x", "show", "r"),
        ("-n", "other", "show", "--", "r"),
    ],
)
def test_which_cluster_may_be_said_before_the_command(
    words: tuple[str, ...], penstock: CommandLine, cluster: Cluster
) -> None:
    assert "there is no run r in namespace other" in penstock.fails(*words)


@pytest.mark.parametrize("words", [("-n", "other", "--help"), ("-n", "other")])
def test_nothing_is_wrong_with_it_where_there_is_no_command(words: tuple[str, ...], penstock: CommandLine) -> None:
    said = penstock(*words)
    assert "Usage: penstock [OPTIONS] COMMAND" in said.out + said.err
    assert "No such option" not in said.err


def test_a_misspelt_command_is_told_its_name(penstock: CommandLine) -> None:
    said = penstock.fails("bild", code=2)
    assert said.endswith("error: there is no command bild; did you mean build?\n")
    assert "Usage: penstock [OPTIONS] COMMAND" in said


def test_an_unknown_command_is_told_all(penstock: CommandLine) -> None:
    assert f"there are {listed(sorted(COMMANDS))}" in penstock.fails("xyzzy", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show",), "Missing argument 'RUN'"),
        (("cancel",), "Missing argument 'RUN...'"),
        (("--loud",), "--loud"),
        (("runs", "--loud"), "--loud"),
        (("runs", "-o", "xml"), "'xml' is not one of 'json', 'yaml', 'name', 'wide'"),
        (("runs", "--limit", "0"), "0 is not in the range x>=1"),
        (("logs", "r", "--attempt", "0"), "0 is not in the range x>=1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...], message: str, penstock: CommandLine) -> None:
    said = penstock.fails(*words, code=2)
    assert message in said
    assert "error: " in said


@pytest.mark.parametrize(
    "words",
    [("runs",), ("show", "r"), ("watch", "r"), ("logs", "r"), ("cancel", "r"), ("run", "d")],
    ids=lambda words: words[0],
)
def test_without_a_cluster_the_remedy_is_one_line(words: tuple[str, ...], penstock: CommandLine) -> None:
    assert penstock.fails(*words) == "error: no cluster: set KUBECONFIG, or give --kubeconfig\n"


def test_a_kubeconfig_that_is_missing_is_named(penstock: CommandLine) -> None:
    said = penstock.fails("runs", "--kubeconfig", "nowhere")
    assert said == "error: kubeconfig nowhere does not exist: set KUBECONFIG, or give --kubeconfig\n"


def test_debugging_shows_the_traceback(penstock: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DEBUG", "1")
    with pytest.raises(Exception, match="no cluster"):
        penstock("runs")


def test_kubectls_plugin_is_called_so(penstock: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubectl penstock` runs `kubectl-penstock`, and should say so in its help."""
    plugin = CommandLine(monkeypatch, penstock.capsys, "/usr/local/bin/kubectl-penstock")
    assert plugin.ok("runs", "-h").startswith("Usage: kubectl penstock runs ")


def test_it_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "penstock.cli", "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("penstock ")


def test_help_imports_no_command(penstock: CommandLine) -> None:
    """Help and completion stay quick: neither rich, httpx nor pydantic is loaded for them."""
    code = (
        "import sys; sys.argv = ['penstock', '--help']\n"
        "from penstock.cli import main\n"
        "main()\n"
        "print(sorted({'httpx', 'rich', 'pydantic', 'jsonschema', 'penstock.client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_ends_quietly() -> None:
    """As with `penstock build flow.py | head -1`."""
    program = (
        "import click, sys\n"
        "from penstock.cli import cli, main\n"
        "@cli.command('spill')\n"
        "def spill(): [click.echo('x' * 1000) for _ in range(1000)]\n"
        "sys.argv = ['penstock', 'spill']\n"
        "cli.resolve_command = lambda ctx, args: ('spill', spill, [])\n"
        "main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def described(name: str, command: click.Command | None) -> list[tuple[str, click.Command]]:
    """A command and, of a group, all in it that stand nowhere else."""
    assert command is not None
    found = [(name, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        subs = [sub for sub in command.list_commands(context) if sub not in COMMANDS]
        found += [each for sub in subs for each in described(f"{name} {sub}", command.get_command(context, sub))]
    return found


def test_the_page_tells_of_every_command_and_option() -> None:
    """docs/cli.md keeps up with the code; options of what a page of its own is about may be told there."""
    docs = Path(__file__).resolve().parents[3] / "docs"
    page = (docs / "cli.md").read_text()
    every = "".join(path.read_text() for path in docs.glob("*.md"))
    headings = set(re.findall(r"^## (\w+)", page, re.MULTILINE))
    assert set(COMMANDS) <= headings
    for name in COMMANDS:
        for words, command in described(name, cli.cli.get_command(click.Context(cli.cli), name)):
            for option in command.params:
                given = [word for word in option.opts if word.startswith("-")]
                assert not given or any(f"`{word}" in every for word in given), f"{words} {given}"


@pytest.mark.parametrize("word", ALIASES)
def test_kubectls_and_prefects_words_are_understood(word: str, penstock: CommandLine) -> None:
    assert ALIASES[word] in COMMANDS
    assert word not in COMMANDS
    assert penstock.ok(word, "--help").startswith(f"Usage: penstock {ALIASES[word]} ")


GROUPS = [name for name in COMMANDS if isinstance(cli.cli.get_command(click.Context(cli.cli), name), Listing)]


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_lists_in_every_form(name: str, penstock: CommandLine) -> None:
    assert "[json|yaml|name|wide]" in penstock.ok(name, "ls", "--help")
    local = name in ("artifact", "block", "variable")
    assert penstock.fails(name) == (
        "error: no cluster: set KUBECONFIG, or give --kubeconfig"
        + ("; --local looks at the files of runs on this machine\n" if local else "\n")
    )
    said = penstock.fails(name, "lss", code=2)
    assert said.endswith(f"error: penstock {name} has no command lss; did you mean ls?\n")
