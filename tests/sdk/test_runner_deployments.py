"""What `flow.to_deployment` makes; that it is applied is tested on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from module_files import loaded
from penstock import Flow, flow
from penstock.api.flowdeployment import FlowDeploymentSpec, HistoryLimits
from penstock.deployment_options import Fields
from penstock.deployments import RunnerDeployment, deploy
from penstock.errors import ConfigurationError, ParameterError, UnsupportedHere
from penstock.manifests import CannotBeDeployed
from penstock.settings import temporary_settings

ETL = "from penstock import flow\n\n\n@flow\ndef etl(parts: int = 2): ...\n\n\nfast = etl.with_options(name='fast')\n"


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Any]:
    """A module with the flows `etl` and `fast`, in a file whose name is no module's."""
    with loaded(tmp_path / "1-shop.py", ETL, "shop_of_test") as found:
        yield found


def spec(deployment: RunnerDeployment) -> dict[str, Any]:
    found: dict[str, Any] = deployment.manifests()[1]["spec"]
    return found


def test_the_code_is_that_of_its_file(module: Any) -> None:
    flow_, deployment = module.fast.to_deployment("nightly").manifests()
    assert flow_["metadata"]["name"] == "fast"
    assert flow_["spec"]["entrypoint"] == "_1_shop:fast"
    assert flow_["spec"]["code"] == {"source": {"text": ETL}}
    assert deployment["metadata"]["name"] == "nightly"
    assert deployment["spec"] == {"flowRef": {"name": "fast"}}


def test_or_in_the_image(module: Any) -> None:
    flow_, _ = module.etl.to_deployment(image="registry/shop:1", from_image=True).manifests()
    assert flow_["spec"]["code"] == {"image": {"image": "registry/shop:1"}}
    assert flow_["spec"]["entrypoint"] == "shop_of_test:etl"


def test_every_option_has_its_field(module: Any) -> None:
    deployment = module.etl.to_deployment(
        "nightly",
        cron=["0 6 * * *", "0 18 * * *"],
        interval=timedelta(hours=1),
        rrule="FREQ=MONTHLY",
        schedules=[{"slug": "own", "cron": {"expression": "@daily"}, "suspend": True}],
        paused=True,
        parameters={"parts": 3},
        description="what for",
        tags=["b", "a", "b"],
        version="7",
        concurrency_limit={"limit": 1, "collision_strategy": "CANCEL_NEW"},
        work_pool_name="gpu",
        work_queue_name="fast",
        job_variables={"env": {"A": "b"}},
        image="registry/shop:1",
        priority=3,
    )
    assert spec(deployment) == {
        "flowRef": {"name": "etl"},
        "description": "what for",
        "version": "7",
        "parameters": {"parts": 3},
        "schedules": [
            {"slug": "interval", "interval": {"seconds": 3600}},
            {"slug": "cron", "cron": {"expression": "0 6 * * *"}},
            {"slug": "cron-2", "cron": {"expression": "0 18 * * *"}},
            {"slug": "rrule", "rrule": {"rule": "FREQ=MONTHLY"}},
            {"slug": "own", "cron": {"expression": "@daily"}, "suspend": True},
        ],
        "workPool": "gpu",
        "queue": "fast",
        "priority": 3,
        "concurrency": {"limit": 1, "policy": "Forbid"},
        "pod": {"image": "registry/shop:1", "env": [{"name": "A", "value": "b"}]},
        "tags": ["b", "a"],
        "suspend": True,
    }


def test_what_the_resource_has_besides_goes_by_its_own_name(module: Any) -> None:
    deployment = module.etl.to_deployment(
        cron=["@daily", "@weekly"],
        max_runs=3,
        requirements=["pandas>=2", "pyarrow"],
        catch_up="All",
        starting_deadline_seconds=3600,
        pending_deadline_seconds=60,
        active_deadline_seconds=600,
        infra_retries={"limit": 2, "reasons": ["OOMKilled"], "backoff_seconds": 5},
        history_limits=HistoryLimits(successful=3, failed=0),
        ttl_seconds_after_finished=0,
        labels={"team": "shop"},
    )
    assert spec(deployment) == {
        "flowRef": {"name": "etl"},
        "schedules": [
            {"slug": "cron", "cron": {"expression": "@daily"}, "maxRuns": 3},
            {"slug": "cron-2", "cron": {"expression": "@weekly"}, "maxRuns": 3},
        ],
        "requirements": ["pandas>=2", "pyarrow"],
        "catchUp": "All",
        "startingDeadlineSeconds": 3600,
        "pendingDeadlineSeconds": 60,
        "activeDeadlineSeconds": 600,
        "infraRetries": {"limit": 2, "reasons": ["OOMKilled"], "backoffSeconds": 5},
        "historyLimits": {"successful": 3, "failed": 0},
        "ttlSecondsAfterFinished": 0,
        "labels": {"team": "shop"},
    }


def test_no_field_of_the_resource_is_out_of_reach() -> None:
    renamed = {"flow_ref", "parameters", "schedules", "work_pool", "queue", "concurrency", "pod", "tags", "suspend"}
    assert {*Fields.__annotations__, *renamed} == set(FlowDeploymentSpec.model_fields)


def test_pool_and_image_are_those_of_the_settings_where_nobody_names_any(module: Any) -> None:
    with temporary_settings(deploy_work_pool="gpu", deploy_image="registry/shop:2"):
        unnamed = spec(module.etl.to_deployment())
        named = spec(module.etl.to_deployment(work_pool_name="cpu", image="registry/shop:3"))
    assert (unnamed["workPool"], unnamed["pod"]) == ("gpu", {"image": "registry/shop:2"})
    assert (named["workPool"], named["pod"]) == ("cpu", {"image": "registry/shop:3"})


def test_a_number_is_a_limit(module: Any) -> None:
    assert spec(module.etl.to_deployment(concurrency_limit=2))["concurrency"] == {"limit": 2}


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a parameter of another type": ({"parameters": {"parts": "x"}}, ParameterError, "parts: 'x' is not of type"),
    "a parameter that is none": (
        {"parameters": {"part": 1}},
        ParameterError,
        r"part: there is no such name; did you mean parts\?",
    ),
    "an interval of nothing": ({"interval": 0}, ConfigurationError, "interval: a timedelta or whole seconds"),
    "a schedule that is none": ({"schedules": ["daily"]}, ConfigurationError, r"schedules: 'daily' is none: use"),
    "one slug twice": (
        {"cron": "@daily", "schedules": [{"slug": "cron", "interval": {"seconds": 1}}]},
        ConfigurationError,
        "two have the slug cron",
    ),
    "a strategy that is none": (
        {"concurrency_limit": {"limit": 1, "collision_strategy": "WAIT"}},
        ConfigurationError,
        "concurrency_limit: a number, or a mapping with limit and collision_strategy",
    ),
    "a variable that is none": ({"job_variables": {"cpus": 1}}, ConfigurationError, "there is no cpus"),
    "a schedule out of bounds": ({"interval": 10**9}, CannotBeDeployed, "schedules.0.interval.seconds"),
    "a cron that never fires": (
        {"cron": "0 0 30 2 *"},
        CannotBeDeployed,
        r"deployment etl: schedules\[cron\]\.cron\.expression: it never fires",
    ),
    "a limit of nothing": ({"concurrency_limit": 0}, CannotBeDeployed, r"concurrency\.limit: 0 lets no run start"),
    "an option that is none": ({"cronn": "@daily"}, TypeError, r"has no option cronn; did you mean cron\?"),
    "a requirement that is no list": ({"requirements": "pandas"}, CannotBeDeployed, "requirements: Input should be a"),
    "a limit below nothing": (
        {"history_limits": {"failed": -1}},
        CannotBeDeployed,
        r"deployment etl: historyLimits\.failed: Input should be greater than or equal to 0",
    ),
    "a field of a field that is none": (
        {"infra_retries": {"limits": 1}},
        ConfigurationError,
        "infra_retries: there is no limits; there are limit, backoff_seconds, reasons",
    ),
    "an end of no schedule": (
        {"max_runs": 3, "schedules": [{"slug": "own", "interval": {"seconds": 9}}]},
        ConfigurationError,
        "max_runs is for cron, interval and rrule",
    ),
    "runs that are none": ({"cron": "@daily", "max_runs": 0}, CannotBeDeployed, r"schedules\.0\.maxRuns"),
}


@pytest.mark.parametrize(("options", "kind", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused_by_its_name(
    options: dict[str, Any], kind: type[Exception], said: str, module: Any
) -> None:
    with pytest.raises(kind, match=said):
        module.etl.to_deployment(**options).manifests()


def test_a_flow_without_a_file_goes_as_a_bundle() -> None:
    held: dict[str, Any] = {}
    exec("from penstock import flow\n@flow\ndef etl(): ...", held)
    found, _ = held["etl"].to_deployment().manifests()
    assert set(found["spec"]["code"]) == {"bundle"}


def test_nor_one_inside_of_a_function() -> None:
    @flow
    def inner() -> None: ...

    with pytest.raises(CannotBeDeployed, match="inside of a function or class"):
        inner.to_deployment().manifests()


def test_deploy_wants_deployments(module: Any) -> None:
    with pytest.raises(ConfigurationError, match="at least one deployment"):
        deploy()
    with pytest.raises(ConfigurationError, match=r"wants deployments such as my_flow\.to_deployment"):
        deploy(module.etl)


def test_images_are_built_by_others(module: Any) -> None:
    with pytest.raises(UnsupportedHere, match="build yours with your own tool and give it as image"):
        module.etl.deploy("nightly", build=True)


def test_two_flows_of_one_name_are_refused(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other: Flow[..., Any] = module.etl.with_options(retries=3)
    module.other = other
    with pytest.raises(CannotBeDeployed, match="two different Flows would be named etl"):
        deploy(module.etl.to_deployment("a"), other.to_deployment("b"))
