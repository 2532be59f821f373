"""Metrics: each is served under its name, and answers of the API server are counted."""

from __future__ import annotations

import threading
from typing import Any

import prometheus_client

from penstock_operator import metrics
from penstock_operator.controller.queue import KeyQueue


def value(name: str, labels: dict[str, str] | None = None) -> float | None:
    return prometheus_client.REGISTRY.get_sample_value(name, labels or {})


def test_answers_are_counted_by_verb_resource_and_status() -> None:
    labels = {"verb": "PATCH", "resource": "flowruns", "code": "422"}
    before = value("penstock_api_calls_total", labels) or 0.0
    metrics.observe_call("PATCH", "flowruns", 422)
    assert value("penstock_api_calls_total", labels) == before + 1


def test_the_age_of_the_queue_can_be_asked_from_the_thread_that_serves_metrics() -> None:
    """There is no event loop in that thread."""
    queue: KeyQueue[str] = KeyQueue()
    assert queue.oldest_age() == 0.0
    queue.add("a")
    ages: list[Any] = []
    thread = threading.Thread(target=lambda: ages.append(queue.oldest_age()))
    thread.start()
    thread.join()
    assert 0.0 <= ages[0] < 60.0
