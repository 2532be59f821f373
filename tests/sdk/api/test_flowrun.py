"""What the FlowRun model computes itself."""

from builders import good, run_state
from penstock.api.flowrun import FlowRun
from penstock.api.states import StateType


def test_the_state_of_a_run_is_none_until_it_is_accepted() -> None:
    body = good("FlowRun")
    assert FlowRun.model_validate(body).state_type is None
    assert FlowRun.model_validate({**body, "status": {}}).state_type is None
    accepted = FlowRun.model_validate({**body, "status": {"state": run_state("Pending")}})
    assert accepted.state_type is StateType.PENDING
