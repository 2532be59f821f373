"""Which attempt of which run this pod is for: the environment that the operator gave it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..api import labels


class InvalidAssignment(Exception):
    """The environment names no run: this is not a pod that the operator made."""


class Assignment:
    """The run, the attempt and the pod."""

    __slots__ = (
        "attempt",
        "code",
        "code_secret",
        "deployment",
        "entrypoint",
        "name",
        "namespace",
        "pod_name",
        "pod_uid",
        "requirements",
        "seq",
        "started",
        "uid",
    )

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.namespace = _text(environment, labels.ENV_NAMESPACE)
        self.name = _text(environment, labels.ENV_RUN)
        self.uid = _text(environment, labels.ENV_RUN_UID)
        self.attempt = _number(environment, labels.ENV_ATTEMPT)
        self.seq = _number(environment, labels.ENV_SEQ)
        self.entrypoint = _text(environment, labels.ENV_ENTRYPOINT)
        self.pod_name = _text(environment, labels.ENV_POD_NAME)
        self.pod_uid = _text(environment, labels.ENV_POD_UID)
        self.started = environment.get(labels.ENV_STARTED) == "true"
        self.code = environment.get(labels.ENV_CODE)
        self.code_secret = environment.get(labels.ENV_CODE_SECRET)
        self.requirements = environment.get(labels.ENV_REQUIREMENTS)
        self.deployment = environment.get(labels.ENV_DEPLOYMENT)

    @property
    def path(self) -> str:
        """URL path of the run."""
        return f"{self.runs}/{self.name}"

    @property
    def runs(self) -> str:
        """URL path of runs."""
        return f"/apis/{labels.API_VERSION}/namespaces/{self.namespace}/flowruns"

    @property
    def pages(self) -> str:
        """URL path of task pages."""
        return f"/apis/{labels.API_VERSION}/namespaces/{self.namespace}/taskrunpages"


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise InvalidAssignment(f"{name} is not set: the operator sets it in the pods it makes")
    return value


def _number(environment: Mapping[str, str], name: str) -> int:
    text = _text(environment, name)
    if not (text.isascii() and text.isdecimal()):
        raise InvalidAssignment(f"{name} is {text!r} and should be a number: the operator sets it in the pods it makes")
    return int(text)
