"""What the command line calls the kinds."""

from __future__ import annotations

import pytest

from penstock.cli import ALIASES, COMMANDS
from penstock.cli.kinds import RUN, SPOKEN, address


@pytest.mark.parametrize("kind", SPOKEN)
def test_each_kind_has_its_command(kind: str) -> None:
    spoken = SPOKEN[kind]
    assert {spoken.plural, ALIASES.get(spoken.plural)} & set(COMMANDS)


def test_an_address_is_what_kubectl_prints() -> None:
    assert address(RUN, "monday") == "flowrun.penstock.dev/monday"
