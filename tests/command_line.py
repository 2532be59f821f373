"""The `penstock` command in this process, as its entry point runs it: words in; exit code, stdout and stderr out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock import cli
from penstock.cli import flow_files


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """Callable with the words after `penstock`; `program` is the name it is started by."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    program: str = "penstock"

    def __call__(self, *words: str) -> Said:
        self.monkeypatch.setattr(sys, "argv", [self.program, *words])
        self.capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        seen = self.capsys.readouterr()
        return Said(code, seen.out, seen.err)

    def ok(self, *words: str) -> str:
        """stdout of a command that must succeed."""
        said = self(*words)
        assert said.code == 0, said.err
        return said.out

    def fails(self, *words: str, code: int = 1) -> str:
        """The error of a command that must fail with this code; it has no traceback."""
        said = self(*words)
        assert said.code == code, said
        assert "Traceback" not in said.err
        return said.err


@contextmanager
def loading_flows(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Take back what flow files of the folder leave in the interpreter: each test may name its files as it likes."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if folder in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]
    flow_files.imported.clear()
