"""What deployments and runs may change in pods."""

from typing import get_args

import pytest
from pydantic import ValidationError

from penstock.api.pods import DEFAULT_ALLOWED, EnvVar, Override, PodOverrides, ResourceRequirements


def test_every_override_can_be_allowed_by_its_name() -> None:
    assert {field.alias for field in PodOverrides.model_fields.values()} == set(get_args(Override))
    assert set(DEFAULT_ALLOWED) < set(get_args(Override))


def test_what_chooses_nodes_is_not_allowed_unless_the_pool_says_so() -> None:
    assert not set(DEFAULT_ALLOWED) & {"nodeSelector", "tolerations", "affinity", "priorityClassName"}


@pytest.mark.parametrize("quantity", ["1", "250m", "1.5", "64Mi", "2G"])
def test_quantities_are_those_of_kubernetes(quantity: str) -> None:
    assert ResourceRequirements.model_validate({"requests": {"cpu": quantity}})


@pytest.mark.parametrize("quantity", ["", "much", "1 Gi", "-1", "1gb"])
def test_other_words_are_no_quantities(quantity: str) -> None:
    with pytest.raises(ValidationError, match=r"limits\.memory"):
        ResourceRequirements.model_validate({"limits": {"memory": quantity}})


def test_a_secret_is_named_and_never_told() -> None:
    variable = EnvVar.model_validate({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})
    assert variable.to_dict() == {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
