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
        "deployment",
        "entrypoint",
        "name",
        "namespace",
        "pod_name",
        "pod_uid",
        "seq",
        "uid",
    )

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        try:
            self.namespace = environment[labels.ENV_NAMESPACE]
            self.name = environment[labels.ENV_RUN]
            self.uid = environment[labels.ENV_RUN_UID]
            self.attempt = int(environment[labels.ENV_ATTEMPT])
            self.seq = int(environment[labels.ENV_SEQ])
            self.entrypoint = environment[labels.ENV_ENTRYPOINT]
            self.pod_name = environment[labels.ENV_POD_NAME]
            self.pod_uid = environment[labels.ENV_POD_UID]
        except (KeyError, ValueError) as error:
            raise InvalidAssignment(f"{error}: the operator sets this in the pods it makes") from error
        self.code = environment.get(labels.ENV_CODE)
        self.deployment = environment.get("PENSTOCK_DEPLOYMENT")

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
