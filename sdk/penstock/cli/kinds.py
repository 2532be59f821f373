"""The kinds that the command line speaks of: what people call them, and how the first one comes to be.

Read by lookups, listings and completion. Who adds a kind to the command line adds it here, and makes its commands with
`objects`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..api import labels
from ..api.artifact import Artifact
from ..api.backfill import Backfill
from ..api.block import Block
from ..api.concurrencylimit import ConcurrencyLimit
from ..api.flow import Flow
from ..api.flowdeployment import FlowDeployment
from ..api.flowrun import FlowRun
from ..api.schema import Kind
from ..api.variable import Variable
from ..api.workpool import WorkPool
from ..api.workqueue import WorkQueue

RUN, DEPLOYMENT, FLOW = FlowRun.about, FlowDeployment.about, Flow.about
POOL, QUEUE, LIMIT = WorkPool.about, WorkQueue.about, ConcurrencyLimit.about
BACKFILL = Backfill.about
ARTIFACT, BLOCK, VARIABLE = Artifact.about, Block.about, Variable.about


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a kind is called in messages, and what to do where there are none."""

    word: str
    remedy: str

    @property
    def plural(self) -> str:
        """`deployments`, which is also the command of the kind."""
        return f"{self.word}s"


SPOKEN: dict[str, Spoken] = {
    RUN.kind: Spoken("run", "start one with `penstock run DEPLOYMENT`"),
    DEPLOYMENT.kind: Spoken("deployment", "make one with `penstock deploy FILE.py`"),
    FLOW.kind: Spoken("flow", "make one with `penstock deploy FILE.py`"),
    POOL.kind: Spoken("pool", "make one with `penstock pools create NAME`"),
    QUEUE.kind: Spoken("queue", "make one with `penstock queues create NAME --pool POOL`"),
    LIMIT.kind: Spoken("limit", "make one with `penstock limits create NAME 3`"),
    BACKFILL.kind: Spoken("backfill", "make one with `penstock backfills create DEPLOYMENT`"),
    ARTIFACT.kind: Spoken("artifact", "runs make them, with penstock.artifacts"),
    BLOCK.kind: Spoken("block", "save one with `penstock block save FILE.py:CLASS NAME`"),
    VARIABLE.kind: Spoken("variable", "set one with `penstock variable set NAME VALUE`"),
}


def address(kind: Kind, name: str) -> str:
    """`flowrun.penstock.dev/monday`, as `-o name` prints it and kubectl takes it."""
    return f"{kind.singular}.{labels.GROUP}/{name}"
