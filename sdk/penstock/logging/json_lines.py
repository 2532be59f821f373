"""Log records as one JSON object a line on stdout: how a run's pod logs. `penstock logs` renders them again.

Chosen by PENSTOCK_LOG_FORMAT=json, which the runner sets; knows the run from the environment of its pod.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from ..api import labels


class JsonLines(logging.Handler):
    """Writes `ts`, `level`, `logger`, `message`, `run`, `attempt`, and `task` where the record comes from one."""

    def __init__(self) -> None:
        super().__init__()
        self._run = {
            "run": os.environ.get(labels.ENV_RUN),
            "attempt": int(os.environ.get(labels.ENV_ATTEMPT) or 0),
        }
        self._exceptions = logging.Formatter()

    def line(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record as it is written."""
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "ts": f"{second}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._run,
        }
        task = getattr(record, "task_run_name", None)
        if task:
            fields["task"] = task
        if record.exc_info:
            fields["exception"] = self._exceptions.formatException(record.exc_info)
        return fields

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(json.dumps(self.line(record), default=str) + "\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)
