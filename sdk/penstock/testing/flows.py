"""Flows that every image with the SDK has, to try an installation with: entrypoint `penstock.testing.flows:hello`."""

from __future__ import annotations

from penstock import flow, get_run_logger, task


@task
def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


@flow
def hello(name: str = "Kubernetes") -> str:
    """Greet somebody.

    Args:
        name: who is greeted.
    """
    greeting = greet(name)
    get_run_logger().info(greeting)
    return greeting
