"""job_variables as pod overrides."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import ConfigurationError
from penstock.job_variables import pod_overrides

TAKEN: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "none": (None, {}),
    "Prefect's names": (
        {"image": "i:1", "image_pull_policy": "Always", "env": {"A": "b", "N": 1, "F": True}},
        {
            "image": "i:1",
            "imagePullPolicy": "Always",
            "env": [{"name": "A", "value": "b"}, {"name": "N", "value": "1"}, {"name": "F", "value": "true"}],
        },
    ),
    "Kubernetes' names": (
        {"nodeSelector": {"gpu": "yes"}, "env": [{"name": "A", "value": "b"}]},
        {"nodeSelector": {"gpu": "yes"}, "env": [{"name": "A", "value": "b"}]},
    ),
}


@pytest.mark.parametrize(("given", "overrides"), TAKEN.values(), ids=TAKEN)
def test_what_is_taken(given: dict[str, Any] | None, overrides: dict[str, Any]) -> None:
    assert pod_overrides(given) == overrides


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"service_account": "x"}, "job_variables: there is no serviceAccount; there are image, imagePullPolicy"),
        ({"image": 1}, "job_variables: image: Input should be a valid string"),
        ({"env": {"A": [1]}}, r"job_variables: env\.0\.value: Input should be a valid string"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        pod_overrides(given)
