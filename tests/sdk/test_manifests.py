"""From a flow to its manifests: a golden of a realistic flow, each option's field, refusals that name the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import flow
from penstock.api.flow import MAX_SOURCE
from penstock.api.flow import Flow as FlowResource
from penstock.api.flowdeployment import FlowDeployment
from penstock.cli.flow_files import load
from penstock.manifests import CannotBeDeployed, Options, deployment_manifest, flow_manifest
from penstock.yaml_text import dump

GOLDENS = Path(__file__).parent / "goldens"
SOURCE = "from penstock import flow\n"


@flow
def etl(n: int = 1, *, note: str = "") -> int:
    return n


@flow
def open_ended(**anything: Any) -> None:
    """Takes whatever it is given."""


def manifests(options: Options, source: str = SOURCE) -> list[dict[str, Any]]:
    return [flow_manifest(etl, "module:etl", source, options), deployment_manifest(etl, options)]


def test_a_realistic_flow_as_it_is_checked_in() -> None:
    """`settle.py` gives `settle.yaml`; where the change is wanted, write the new text into the file."""
    found = load(str(GOLDENS / "settle.py"))
    (settle,) = found.flows.values()
    options = Options(
        deployment_name="settle-daily",
        work_pool="default",
        queue="fast",
        image="registry.example/flows:1.10",
        parameters={"mode": "yes", "rate": 1e3, "note": "2026-01-31", "accounts": [{"iban": "NO93", "owner": "y"}]},
        tags=("no", "12:30", "0o7"),
        suspend=False,
    )
    made = [
        flow_manifest(settle, f"{found.module}:settle", found.source, options),
        deployment_manifest(settle, options),
    ]
    assert dump(made) == (GOLDENS / "settle.yaml").read_text()


def test_the_golden_holds_what_the_api_takes() -> None:
    """The texts are the objects: YAML's own reading of the golden is valid, and its source is the file."""
    first, second = yaml.safe_load_all((GOLDENS / "settle.yaml").read_text())
    assert FlowResource.model_validate(first).to_dict() == first
    assert FlowDeployment.model_validate(second).to_dict() == second
    assert first["spec"]["code"]["source"]["text"] == (GOLDENS / "settle.py").read_text()
    assert second["spec"]["parameters"]["note"] == "2026-01-31"
    assert second["spec"]["tags"] == ["no", "12:30", "0o7"]


def test_nothing_is_said_that_was_not_asked_for() -> None:
    """What is left out is the cluster's default, and stays so when that changes."""
    made, deployment = manifests(Options())
    assert set(made["spec"]) == {"code", "entrypoint", "parameters"}
    assert deployment == {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "FlowDeployment",
        "metadata": {"name": "etl"},
        "spec": {"flowRef": {"name": "etl"}},
    }


# Options, and the fields that they set in the Flow and in the FlowDeployment.
OPTIONS: dict[str, tuple[Options, dict[str, Any], dict[str, Any]]] = {
    "a pool": (Options(work_pool="gpu"), {}, {"workPool": "gpu"}),
    "a queue": (Options(queue="fast"), {}, {"queue": "fast"}),
    "an image": (Options(image="i:1"), {}, {"pod": {"image": "i:1"}}),
    "parameters": (Options(parameters={"n": 2}), {}, {"parameters": {"n": 2}}),
    "tags": (Options(tags=("a", "b")), {}, {"tags": ["a", "b"]}),
    "suspended": (Options(suspend=True), {}, {"suspend": True}),
    "no longer suspended": (Options(suspend=False), {}, {"suspend": False}),
    "code in the pool's image": (Options(from_image=True), {"code": {"image": {}}}, {}),
    "code in an image": (Options(from_image=True, image="i:1"), {"code": {"image": {"image": "i:1"}}}, {}),
}


@pytest.mark.parametrize(("options", "of_flow", "of_deployment"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_sets_its_field_and_no_other(
    options: Options, of_flow: dict[str, Any], of_deployment: dict[str, Any]
) -> None:
    plain, plain_deployment = manifests(Options())
    made, deployment = manifests(options)
    assert made["spec"] == {**plain["spec"], **of_flow}
    assert deployment["spec"] == {**plain_deployment["spec"], **of_deployment}


# Names of the flow, of the deployment, and what the objects are then called.
NAMES: dict[str, tuple[Options, str, str]] = {
    "those of the flow": (Options(), "etl", "etl"),
    "another for the Flow, and so for its deployment": (Options(flow_name="My_ETL"), "my-etl", "my-etl"),
    "another for the deployment": (Options(deployment_name="Etl nightly"), "etl", "etl-nightly"),
    "both": (Options(flow_name="a", deployment_name="b"), "a", "b"),
    "a long one is cut": (Options(deployment_name="x" * 70), "etl", "x" * 63),
}


@pytest.mark.parametrize(("options", "of_flow", "of_deployment"), NAMES.values(), ids=NAMES)
def test_names_are_made_kubernetes_own(options: Options, of_flow: str, of_deployment: str) -> None:
    made, deployment = manifests(options)
    assert made["metadata"]["name"] == deployment["spec"]["flowRef"]["name"] == of_flow
    assert deployment["metadata"]["name"] == of_deployment


@pytest.mark.parametrize(
    ("declared", "fields"),
    [
        ({"retries": 3}, {"retries": 3}),
        ({"retries": 1, "retry_delay_seconds": 0.2}, {"retries": 1, "retryDelaySeconds": 1}),
        ({"retries": 2, "retry_delay_seconds": [1, 10]}, {"retries": 2}),
        ({"retry_delay_seconds": 0}, {}),
        ({"timeout_seconds": 1.5}, {"timeoutSeconds": 2}),
        ({"timeout_seconds": 0}, {}),
        ({"log_prints": False}, {"logging": {"logPrints": False}}),
        ({"version": "1.10"}, {"version": "1.10"}),
        ({"description": "What it does."}, {"description": "What it does."}),
    ],
    ids=str,
)
def test_what_the_decorator_says_stands_in_the_flow(declared: dict[str, Any], fields: dict[str, Any]) -> None:
    """Seconds are whole in the API: they are rounded up, so that no timeout comes early. Lists of delays are code's."""
    given = etl.with_options(**declared)
    plain = flow_manifest(etl, "module:etl", SOURCE, Options())
    assert flow_manifest(given, "module:etl", SOURCE, Options())["spec"] == {**plain["spec"], **fields}


def test_the_entrypoint_is_the_callers() -> None:
    """A flow made by `with_options` is found by its own name, not by that of its function."""
    assert flow_manifest(etl, "jobs:fast", SOURCE, Options())["spec"]["entrypoint"] == "jobs:fast"


def test_parameters_of_a_flow_that_takes_any_are_taken() -> None:
    made = deployment_manifest(open_ended, Options(parameters={"whatever": 1}))
    assert made["spec"]["parameters"] == {"whatever": 1}


# What somebody asks for, and what the refusal must say.
REFUSED: dict[str, tuple[Options, str]] = {
    "a flow's name of signs only": (Options(flow_name="!!"), r"flow name '!!'.*--name"),
    "a deployment's name of signs only": (Options(deployment_name="??"), r"deployment name '\?\?'.*--deployment-name"),
    "a parameter that it has not": (Options(parameters={"m": 1, "k": 2}), r"no parameter k, m; it has n, note"),
    "parameters of a schedule that do not fit": (
        Options(fields={"schedules": [{"slug": "daily", "cron": {"expression": "@daily"}, "parameters": {"n": "x"}}]}),
        r"deployment etl: schedules\[daily\]\.parameters\.n: 'x' is not of type 'integer'",
    ),
    "a pool's name in capitals": (Options(work_pool="GPU"), r"deployment etl: workPool: .*'GPU'"),
    "a queue's name with a blank": (Options(queue="a b"), r"deployment etl: queue: .*'a b'"),
    "an empty tag": (Options(tags=("ok", "")), r"deployment etl: tags\.1: .*at least 1 character"),
    "too many tags": (Options(tags=[str(n) for n in range(65)]), r"deployment etl: tags: .*at most 64"),
    "an image's name without end": (Options(image="i" * 2000), r"deployment etl: pod.image: .*at most 1024"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_by_the_name_of_its_field(options: Options, message: str) -> None:
    with pytest.raises(CannotBeDeployed, match=message) as error:
        manifests(options)
    assert error.value.reason == "CannotBeDeployed"


def test_source_that_is_too_long_is_refused_with_the_remedy() -> None:
    manifests(Options(), "#" * MAX_SOURCE)
    with pytest.raises(CannotBeDeployed, match=r"131073 characters.*--from-image"):
        manifests(Options(), "#" * (MAX_SOURCE + 1))
    manifests(Options(from_image=True), "#" * (MAX_SOURCE + 1))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
options_of_any_kind = st.builds(
    Options,
    flow_name=st.none() | st.from_regex(r"[A-Za-z0-9][ -~]{0,20}", fullmatch=True),
    work_pool=st.none() | st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True),
    image=st.none() | texts,
    from_image=st.booleans(),
    parameters=st.fixed_dictionaries({}, optional={"n": st.integers() | texts, "note": texts}),
    tags=st.lists(texts, max_size=3),
    suspend=st.none() | st.booleans(),
)


@given(options_of_any_kind, texts)
@settings(deadline=None)
def test_manifests_come_back_from_yaml_and_json_as_they_were(options: Options, source: str) -> None:
    """What kubectl is sent is what was meant, whatever stands in names, texts and parameters."""
    made = manifests(options, source)
    assert list(yaml.safe_load_all(dump(made))) == made
    assert json.loads(json.dumps(made)) == made
    if not options.from_image:
        assert made[0]["spec"]["code"] == {"source": {"text": source}}


# Fields of a deployment, and what is said of them after its name.
NEVER: dict[str, tuple[dict[str, Any], str]] = {
    "a day that no month has": (
        {"schedules": [{"slug": "a", "cron": {"expression": "0 0 30 2 *"}}]},
        "schedules[a].cron.expression: it never fires; no time matches all of its fields",
    ),
    "no cron": (
        {"schedules": [{"slug": "a", "cron": {"expression": "nonsense"}}]},
        "schedules[a].cron.expression: 'nonsense' has not five or six fields; write it like '0 6 * * 1-5'",
    ),
    "a rule that goes nowhere": (
        {"schedules": [{"slug": "a", "rrule": {"rule": "FREQ=DAILY;INTERVAL=0"}}]},
        "schedules[a].rrule.rule: INTERVAL=0: at least 1 is wanted",
    ),
    "a zone that is none": (
        {"schedules": [{"slug": "a", "interval": {"seconds": 60}, "timezone": "Europe/Berln"}]},
        "schedules[a].timezone: 'Europe/Berln' is no time zone of the IANA database; write it like Europe/Berlin",
    ),
    "a limit of nothing": (
        {"concurrency": {"limit": 0}},
        "concurrency.limit: 0 lets no run start; say at least 1, or leave it out and suspend the deployment",
    ),
}


@pytest.mark.parametrize(("fields", "said"), NEVER.values(), ids=NEVER)
def test_what_would_make_no_runs_is_told_at_once(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CannotBeDeployed) as error:
        deployment_manifest(etl, Options(deployment_name="nightly", fields=fields))
    assert str(error.value).startswith(f"deployment nightly: {said}")


def test_of_several_faults_all_are_told_and_a_schedule_that_ended_is_none() -> None:
    """It may have had its runs: since when there is a deployment, only the operator knows."""
    ended = {"slug": "b", "cron": {"expression": "@daily"}, "end": "2020-01-01T00:00:00Z"}
    bad = {"slug": "a", "cron": {"expression": "nonsense"}}
    assert deployment_manifest(etl, Options(fields={"schedules": [ended]}))["spec"]["schedules"]
    with pytest.raises(CannotBeDeployed, match=r"concurrency\.limit: .*; schedules\[a\]\.cron\.expression: "):
        deployment_manifest(etl, Options(fields={"schedules": [ended, bad], "concurrency": {"limit": 0}}))
