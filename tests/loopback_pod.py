"""A launched run on an API server of the loopback, and what its pods are given; the test plays the operator."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import builders
from loopback_api import Json, LoopbackApi
from penstock.runner.assignment import Assignment
from penstock.runner.connection import Api


def launched(attempt: int = 1, seq: int = 2, **status: Any) -> Json:
    """A run whose attempt is launched and not claimed."""
    return builders.flow_run("Pending", **{"state": builders.run_state("Pending", seq), "attempt": attempt, **status})


def environment(run: Json, pod: str = "pod-uid", name: str = "") -> dict[str, str]:
    """What the operator gives to a pod of the run's attempt; `tests/sdk/runner/test_assignment.py` sees to that."""
    metadata, status = run["metadata"], run["status"]
    return {
        "PENSTOCK_NAMESPACE": metadata["namespace"],
        "PENSTOCK_RUN": metadata["name"],
        "PENSTOCK_RUN_UID": metadata["uid"],
        "PENSTOCK_ATTEMPT": str(status["attempt"]),
        "PENSTOCK_SEQ": str(status["state"]["seq"]),
        "PENSTOCK_ENTRYPOINT": "flow:etl",
        "PENSTOCK_POD_NAME": name or f"{metadata['name']}-{status['attempt']}",
        "PENSTOCK_POD_UID": pod,
        **({"PENSTOCK_STARTED": "true"} if "startTime" in status else {}),
    }


class Pod:
    """A run on an API server of the loopback, and pods of its attempts."""

    def __init__(self, server: LoopbackApi, account: Path) -> None:
        self.server, self._account = server, account
        self._apis = contextlib.ExitStack()
        self.put(launched())

    def put(self, run: Json) -> Json:
        """Make the run what it is to be."""
        self.path = Assignment(environment(run)).path
        self.server.objects[self.path] = run
        return run

    @property
    def run(self) -> Json:
        return self.server.objects[self.path]

    @property
    def status(self) -> Json:
        status: Json = self.run["status"]
        return status

    @property
    def history(self) -> list[tuple[str, int, str]]:
        """State name, seq and writer of each entry."""
        return [(entry["name"], entry["seq"], entry["writer"]) for entry in self.status["history"]]

    def assignment(self, pod: str = "pod-uid") -> Assignment:
        return Assignment(environment(self.run, pod))

    def api(self) -> Api:
        """A connection as its runner makes it."""
        return self._apis.enter_context(contextlib.closing(Api("127.0.0.1", self.server.port, str(self._account))))

    def operator(self, state: str, **fields: Any) -> None:
        """The operator changes the state, and sets other fields; None takes one away."""
        status = self.status
        entry = builders.run_state(state, status["state"]["seq"] + 1)
        status = {**status, "state": entry, "history": [*status["history"], {**entry, "writer": "operator"}], **fields}
        self.run["status"] = {name: value for name, value in status.items() if value is not None}

    def close(self) -> None:
        self._apis.close()
