"""`penstock serve`: refusals. That flows are served is tested in `integration/test_serving`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from command_line import CommandLine
from https_server import Cluster

Write = Callable[[str, str], Path]


def test_what_cannot_be_deployed_leaves_no_pool_behind(penstock: CommandLine, write: Write, cluster: Cluster) -> None:
    write("etl.py", "from penstock import flow\n\n@flow\ndef etl(n: int = 1): ...\n")
    said = penstock.fails("serve", "etl.py", "--cron", "0 0 30 2 *")
    assert said.startswith("error: deployment etl: schedules[cron].cron.expression: it never fires")
    assert cluster.requests == []
