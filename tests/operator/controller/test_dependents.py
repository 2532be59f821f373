"""Which deployments are looked at when a flow, a pool or a queue changes."""

from __future__ import annotations

from typing import Any

from penstock_operator.controller.dependents import Dependents
from penstock_operator.reconcile.sources import Key


def deployment(name: str, flow: str = "etl", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "team", "name": name}, "spec": {"flowRef": {"name": flow}, **spec}}


def known() -> Dependents:
    found = Dependents()
    for body in (deployment("a"), deployment("b", workPool="big"), deployment("c", "other")):
        found.put(body)
    return found


def test_a_flow_concerns_those_that_name_it_once_for_each_version() -> None:
    found, flow = known(), Key("team", "etl")
    assert found.concerned("Flow", flow, "u/1") == ["a", "b"]
    assert found.concerned("Flow", flow, "u/1") == []
    assert found.concerned("Flow", flow, "u/2") == ["a", "b"]
    assert found.concerned("Flow", Key("elsewhere", "etl"), "u/2") == []
    assert found.concerned("Block", flow, "u/2") == []


def test_what_came_or_went_concerns_them_whatever_they_have_seen() -> None:
    found, flow = known(), Key("team", "etl")
    found.concerned("Flow", flow, "u/1")
    assert found.concerned("Flow", flow, None) == ["a", "b"]
    assert found.concerned("Flow", flow, "u/1") == ["a", "b"]
    found.forget()
    assert found.concerned("Flow", flow, "u/1") == ["a", "b"]


def test_a_pool_concerns_those_that_name_it_or_none_where_it_is_the_default() -> None:
    found = known()
    assert found.concerned("WorkPool", Key("team", "big"), "u/1") == ["b"]
    assert found.concerned("WorkPool", Key("team", "default"), "u/1") == ["a", "c"]


def test_a_queue_concerns_those_that_name_it() -> None:
    found, queue = known(), Key("team", "fast")
    assert found.concerned("WorkQueue", queue, "u/1") == []
    found.put(deployment("b", workPool="big", queue="fast"))
    assert found.concerned("WorkQueue", queue, "u/1") == ["b"]
    assert found.concerned("WorkQueue", queue, "u/1") == []
    assert found.concerned("WorkQueue", queue, None) == ["b"]
    found.put(deployment("b", workPool="big"))
    assert found.concerned("WorkQueue", queue, "u/2") == []


def test_a_deployment_that_changes_or_goes_is_not_named_any_more() -> None:
    found, flow = known(), Key("team", "etl")
    found.put(deployment("a", "other"))
    found.drop(Key("team", "b"))
    found.drop(Key("team", "b"))
    assert found.concerned("Flow", flow, "u/1") == []
    assert found.concerned("Flow", Key("team", "other"), "u/1") == ["a", "c"]
    for name in ("a", "c"):
        found.drop(Key("team", name))
    assert [dict(kept) for kept in (found._names, found._of, found._versions)] == [{}, {}, {}]
