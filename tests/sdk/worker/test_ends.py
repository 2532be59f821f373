"""What a run's status says of how its process ended."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.worker.ends import exited


@pytest.mark.parametrize(
    ("message", "reason", "said"),
    [
        ({"exitCode": 3}, "ContainerExited", "its process ended with exit code 3 and no final state"),
        ({"exitCode": 137}, "ContainerExited", "its process ended with SIGKILL and no final state"),
        ({"exitCode": 255}, "ContainerExited", "its process ended with exit code 255 and no final state"),
        ({"why": "oom", "exitCode": 137}, "OOMKilled", "give the worker more, or fewer slots"),
        ({"why": "refused", "message": "no fork"}, "StartFailed", "its process cannot be made: no fork"),
        ({"why": "executor"}, "ContainerExited", "the executor of its worker ended"),
        ({"why": "lost"}, "ContainerExited", "the worker was restarted"),
        ({"why": "stopped", "exitCode": 143}, "WorkerStopped", "its worker was stopped"),
        ({"why": "no contact"}, "WorkerLost", "out of contact for too long"),
    ],
)
def test_the_end_is_told_with_its_reason(message: dict[str, Any], reason: str, said: str) -> None:
    told = exited(2, message)
    assert (told["attempt"], told["reason"], told.get("exitCode")) == (2, reason, message.get("exitCode"))
    assert said in told["message"]


def test_what_is_said_of_it_is_bounded() -> None:
    assert len(exited(1, {"why": "refused", "message": "x" * 100_000})["message"].encode()) <= 4096
