"""The bricks of the models: what goes over the wire, and the rules they make."""

from typing import Any

import pytest
from pydantic import ValidationError

from penstock.api import schema
from penstock.api.flowrun import FlowRun
from penstock.api.workqueue import WorkQueue


def test_a_resource_goes_out_in_camel_case_without_what_is_unset() -> None:
    queue = WorkQueue.model_validate({"metadata": {"name": "q"}, "spec": {"work_pool_ref": {"name": "p"}}})
    assert queue.to_dict() == {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "WorkQueue",
        "metadata": {"name": "q"},
        "spec": {"workPoolRef": {"name": "p"}},
    }
    assert queue.spec.priority == 1000


def test_fields_of_newer_versions_are_ignored_and_metadata_is_kept_whole() -> None:
    body = {"metadata": {"name": "q", "managedFields": []}, "spec": {"workPoolRef": {"name": "p"}, "someday": 1}}
    written = WorkQueue.model_validate(body).to_dict()
    assert "someday" not in written["spec"]
    assert written["metadata"] == {"name": "q", "managedFields": []}


def test_values_are_frozen() -> None:
    queue = WorkQueue.model_validate({"spec": {"workPoolRef": {"name": "p"}}})
    with pytest.raises(ValidationError, match="frozen"):
        queue.spec.priority = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"deploymentRef": {"name": "No Name"}}, "deploymentRef.name"),
        ({"deploymentRef": {"name": "d"}, "priority": 0}, "priority"),
        ({"deploymentRef": {"name": "d"}, "tags": [""]}, "tags.0"),
        ({"deploymentRef": {"name": "d"}, "task": {"entrypoint": "nothing"}}, "task.entrypoint"),
    ],
    ids=lambda value: str(value),
)
def test_a_model_refuses_what_the_api_server_would(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        FlowRun.model_validate({"spec": spec})


def test_exactly_one_counts_the_fields_that_are_set() -> None:
    rule = schema.exactly_one(("cron", "interval"), "schedule")
    assert rule.rule == "(has(self.cron) ? 1 : 0) + (has(self.interval) ? 1 : 0) == 1"
    assert rule.message == "schedule: set exactly one of cron, interval"


def test_immutable_is_one_rule_that_compares_the_whole_first_and_names_each_field() -> None:
    rule = schema.immutable("to", "mode")
    assert rule.rule.startswith("self == oldSelf || (")
    assert rule.message == "to, mode are immutable: create a new object to change them"
    for field in ("to", "mode"):
        assert f"self.{field} == oldSelf.{field}" in rule.rule
        assert f"'{field} is immutable, '" in (rule.message_expression or "")


def test_immutable_of_one_field_stands_at_its_path() -> None:
    rule = schema.immutable("to")
    assert (rule.field_path, rule.message_expression) == (".to", None)
    assert rule.message == "to is immutable: create a new object to change it"


def test_what_is_judged_at_creation_is_not_looked_at_later() -> None:
    rule = schema.at_creation(schema.Rule("self.a || self.b", "a: or b", ".a"))
    assert rule == schema.Rule("oldSelf.hasValue() || (self.a || self.b)", "a: or b", ".a", optional_old_self=True)


def test_own_keys_are_reserved_in_the_field_that_is_named() -> None:
    rule = schema.own_keys_reserved("labels")
    assert rule.field_path == ".labels"
    assert "penstock.dev/" in rule.rule
    assert "penstock.dev/" in rule.message


def test_a_kind_names_its_crd() -> None:
    assert FlowRun.about.crd_name == "flowruns.penstock.dev"
    assert FlowRun.about.singular == "flowrun"
