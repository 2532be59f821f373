"""How the process of a run ended, as `status.worker.exited` says it. Called by the agent, which alone knows. Pure."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import Any

from ..api import reasons
from ..api.bounds import cut
from ..runner.status import timestamp
from .messages import Message

Body = dict[str, Any]


def exited(attempt: int, message: Message) -> Body:
    """What is told of the end of an attempt's process, by what the executor said or `why` the agent knows."""
    why, code = message.get("why") or "", message.get("exitCode")
    reason, text = {
        "oom": (reasons.OOM_KILLED, "the kernel killed it for want of memory: give the worker more, or fewer slots"),
        "refused": (reasons.START_FAILED, f"its process cannot be made: {message.get('message')}"),
        "executor": (reasons.EXITED, "the executor of its worker ended, and its process with it"),
        "lost": (reasons.EXITED, "its process is gone: the worker was restarted"),
        "stopped": (reasons.WORKER_STOPPED, "its worker was stopped"),
        "no contact": (reasons.WORKER_LOST, "its worker was out of contact for too long, and has ended it"),
    }.get(why, (reasons.EXITED, f"its process ended with {_said(code)} and no final state"))
    found = {"attempt": attempt, "reason": reason, "message": cut(text), "time": timestamp(time.time())}
    return found if code is None else {**found, "exitCode": code}


def _said(code: int | None) -> str:
    if code is not None and code > 128:
        with suppress(ValueError):
            return signal.Signals(code - 128).name
    return f"exit code {code}"
