"""`flow.serve` and `serve`: deploy flows, and be the worker that runs them here, until Ctrl-C. For development.

The deployments get a pool of their own, of type Process, whose only workers are those that serve it; so whatever is
started of them, by hand or by a schedule, runs on this machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .api import labels, names
from .errors import ConfigurationError
from .runner_deployments import RunnerDeployment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .client import Client
    from .definitions import Definition
    from .kubeconfig import Access

LIMIT = 5  # runs at once, where nobody says


def serve(
    *deployments: RunnerDeployment,
    limit: int | None = None,
    pause_on_shutdown: bool = True,
    print_starting_message: bool = True,
    work_pool_name: str | None = None,
    namespace: str | None = None,
) -> None:
    """Deploy these, and run on this machine what is started of them, `limit` at once (5), until Ctrl-C or SIGTERM.

    The first Ctrl-C lets what runs go on for half a minute, the second ends it. With `pause_on_shutdown` the
    deployments are suspended then, so that their schedules make no runs that nobody takes; serving them again resumes
    them. `work_pool_name` is the pool, which is made where it is missing; `serve-<first deployment>` when unset.
    """
    from .kubeconfig import access

    work(
        deployments,
        access,
        limit=limit,
        pause_on_shutdown=pause_on_shutdown,
        work_pool_name=work_pool_name,
        namespace=namespace,
        say=_say if print_starting_message else None,
        show=None,
    )


def work(
    deployments: Sequence[RunnerDeployment],
    access: Callable[[], Access],
    *,
    limit: int | None,
    pause_on_shutdown: bool,
    work_pool_name: str | None,
    namespace: str | None,
    say: Callable[[str], None] | None,
    show: Callable[[bytes], None] | None,
) -> None:
    """`serve`, with the credentials of `access`; `say` gets what the worker says, `show` the output of runs."""
    from .applying import apply_all
    from .cli.worker import show as shown
    from .client import Client
    from .worker.outside import work as run_worker

    _check(deployments)
    where = namespace or os.environ.get(labels.ENV_NAMESPACE) or access().namespace
    pool = work_pool_name or next((each.work_pool_name for each in deployments if each.work_pool_name), None)
    pool = pool or pool_name(deployments[0].name)
    mine = [replace(each, work_pool_name=pool, paused=bool(each.paused)) for each in deployments]
    manifests = sorted((m for each in mine for m in each.manifests()), key=lambda m: m["kind"] != "Flow")
    with Client(access(), where) as client:
        make_pool(client, pool)
        made = [a.after["metadata"]["name"] for a in apply_all(client, manifests, force=True)]
    made = [name for name, m in zip(made, manifests, strict=True) if m["kind"] == "FlowDeployment"]
    if say is not None:
        say(f"serving {', '.join(made)}; start a run with: penstock run {made[0]}")
    try:
        with importable([each.flow for each in deployments]):
            asyncio.run(run_worker(access, where, pool, slots=limit or LIMIT, show=show or shown, say=say or _nothing))
    finally:
        if pause_on_shutdown:
            with Client(access(), where) as client:
                for name in made:
                    client.merge("flowdeployments", name, {"spec": {"suspend": True}})
            if say is not None:
                say(f"suspended {', '.join(made)}: serving them again, or penstock deployments resume, resumes them")


def pool_name(deployment: str) -> str:
    """The pool of a deployment that is served."""
    return f"serve-{names.dns_label(deployment, 57)}"


def make_pool(client: Client, name: str) -> None:
    """The pool of that name, of type Process, made where it is missing."""
    from .client import AlreadyExists

    meta = {"name": name, "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}}
    body: dict[str, Any] = {"apiVersion": labels.API_VERSION, "kind": "WorkPool", "metadata": meta}
    with suppress(AlreadyExists):  # whether it has workers, the worker looks at
        client.create({**body, "spec": {"type": "Process"}})


def _check(deployments: Sequence[RunnerDeployment]) -> None:
    if not deployments or not all(isinstance(each, RunnerDeployment) for each in deployments):
        raise ConfigurationError("serve wants deployments such as my_flow.to_deployment('nightly')")
    pools = {each.work_pool_name for each in deployments if each.work_pool_name}
    if len(pools) > 1:
        raise ConfigurationError(f"serve is a worker of one pool, and these name {', '.join(sorted(pools))}")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError("serve goes on until Ctrl-C: call it where no event loop runs")


@contextmanager
def importable(definitions: Iterable[Definition[Any, Any]]) -> Iterator[None]:
    """The folders of the files of flows and tasks are where their runs import from, as where they were started."""
    import inspect

    files = (inspect.getsourcefile(inspect.unwrap(each.fn)) for each in definitions)
    folders = dict.fromkeys(str(Path(file).resolve().parent) for file in files if file)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _nothing(_: str) -> None:
    """Nobody wants to hear it."""
