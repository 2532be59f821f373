"""All kinds of the API, in the order they are documented and applied."""

from __future__ import annotations

from .artifact import Artifact
from .automation import Automation
from .backfill import Backfill
from .block import Block
from .concurrencylimit import ConcurrencyLimit
from .flow import Flow
from .flowdeployment import FlowDeployment
from .flowrun import FlowRun
from .schema import Resource
from .taskrunpage import TaskRunPage
from .variable import Variable
from .workpool import WorkPool
from .workqueue import WorkQueue

ALL: tuple[type[Resource], ...] = (
    Flow,
    FlowDeployment,
    FlowRun,
    TaskRunPage,
    WorkPool,
    WorkQueue,
    ConcurrencyLimit,
    Automation,
    Backfill,
    Block,
    Variable,
    Artifact,
)
