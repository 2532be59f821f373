"""`penstock version`."""

from __future__ import annotations

from importlib.metadata import version

from command_line import CommandLine


def test_both_versions_are_said(penstock: CommandLine) -> None:
    assert penstock.ok("version") == f"penstock {version('penstock')}, API penstock.dev/v1alpha1\n"
