"""`penstock build`: what it prints is what the options say, for kubectl and for programs."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_line import CommandLine
from https_server import Cluster

Write = Callable[[str, str], Path]

ETL = '''
from penstock import flow


@flow
def etl(parts: int = 2, mode: str = "append"):
    """Load."""
'''
LOAD_ALL = "from penstock import flow\n\n@flow\ndef load_all(): ...\n"
TWO = ETL + "\n\nfast = etl.with_options(name='etl-fast', retries=2)\n"


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def test_a_flow_and_its_deployment_are_printed(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    made, deployment = documents(penstock.ok("build", "etl.py"))
    assert (made["kind"], made["metadata"]) == ("Flow", {"name": "etl"})
    assert made["spec"]["code"] == {"source": {"text": ETL}}
    assert made["spec"]["entrypoint"] == "etl:etl"
    assert (deployment["kind"], deployment["spec"]) == ("FlowDeployment", {"flowRef": {"name": "etl"}})


def test_json_is_a_list_of_the_same_objects(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    told = json.loads(penstock.ok("build", "etl.py", "-o", "json"))
    assert (told["apiVersion"], told["kind"]) == ("v1", "List")
    assert told["items"] == documents(penstock.ok("build", "etl.py", "-o", "yaml"))


def test_every_option_has_its_field(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    made, deployment = documents(
        penstock.ok(
            "build",
            "etl.py:etl",
            *("--name", "Load_all", "--deployment-name", "nightly", "--pool", "gpu", "--queue", "fast"),
            *("--image", "i:1", "-p", "parts=3", "--param", "mode=no", "-t", "a", "--tag", "b", "--suspend"),
        )
    )
    assert made["metadata"] == {"name": "load-all"}
    assert deployment["metadata"] == {"name": "nightly"}
    assert deployment["spec"] == {
        "flowRef": {"name": "load-all"},
        "workPool": "gpu",
        "queue": "fast",
        "pod": {"image": "i:1"},
        "parameters": {"parts": 3, "mode": "no"},
        "tags": ["a", "b"],
        "suspend": True,
    }


def test_schedules_are_named_by_their_form(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    given = ("--cron", "0 6 * * *", "--cron", "0 9 * * 1", "--interval", "3600", "--rrule", "FREQ=MONTHLY")
    made = documents(penstock.ok("build", "etl.py", *given))[1]["spec"]["schedules"]
    assert made == [
        {"slug": "interval", "interval": {"seconds": 3600}},
        {"slug": "cron", "cron": {"expression": "0 6 * * *"}},
        {"slug": "cron-2", "cron": {"expression": "0 9 * * 1"}},
        {"slug": "rrule", "rrule": {"rule": "FREQ=MONTHLY"}},
    ]
    (one,) = documents(penstock.ok("build", "etl.py", *given[:2], "--timezone", "Europe/Oslo"))[1]["spec"]["schedules"]
    assert one == {"slug": "cron", "cron": {"expression": "0 6 * * *"}, "timezone": "Europe/Oslo"}


def test_a_bad_schedule_of_a_project_is_refused_before_a_cluster_is_asked(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    write("penstock.yaml", "deployments:\n- {entrypoint: etl.py, name: n, schedules: [{slug: a, cron: 0 25 * * *}]}\n")
    assert "deployment n: schedules[a].cron.expression: '0 25 * * *' cannot be read" in penstock.fails("build")


def test_runs_can_be_taken_up_again(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    assert documents(penstock.ok("build", "etl.py", "--no-suspend"))[1]["spec"]["suspend"] is False


def test_code_may_stay_in_the_image(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    made, deployment = documents(penstock.ok("build", "etl.py", "--from-image", "--image", "i:1"))
    assert made["spec"]["code"] == {"image": {"image": "i:1"}}
    assert "pod" not in deployment["spec"]


def test_each_flow_of_a_file_is_found_by_its_own_name(penstock: CommandLine, write: Write) -> None:
    """Also those that share a function: the entrypoint is the variable, which is what the pod will look for."""
    write("etl.py", TWO)
    found = documents(penstock.ok("build", "etl.py"))
    assert [(body["kind"], body["metadata"]["name"]) for body in found] == [
        ("Flow", "etl"),
        ("FlowDeployment", "etl"),
        ("Flow", "etl-fast"),
        ("FlowDeployment", "etl-fast"),
    ]
    assert [body["spec"]["entrypoint"] for body in found[::2]] == ["etl:etl", "etl:fast"]


# Words after `build etl.py`, the file, the exit code, and what is said.
REFUSED: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "a name for several flows": (
        ("--name", "x"),
        TWO,
        2,
        "etl.py has several flows (etl, fast): choose one with etl.py:NAME to name it",
    ),
    "a deployment's name for several flows": (("--deployment-name", "x"), TWO, 2, "etl.py has several flows"),
    "two flows that would be one object": (
        (),
        ETL + "\n\n@flow(name='ETL')\ndef other(): ...\n",
        1,
        "etl.py: etl and other would both be named etl: give one of them @flow(name=...)",
    ),
    "a parameter that it has not": (
        ("-p", "part=3"),
        ETL,
        1,
        "etl.py: etl: there is no parameter part, did you mean parts?",
    ),
    "a parameter of another type": (("-p", "parts=x"), ETL, 1, "etl.py: etl: parts: 'x' is not of type 'integer'"),
    "a number for text": (("-p", "mode=1"), ETL, 1, "mode: 1 is not of type 'string'; text that looks like JSON"),
    "a parameter that is no pair": (("-p", "parts"), ETL, 2, "'parts': write it as name=value"),
    "a pool that cannot be": (("--pool", "My_Pool"), ETL, 1, "deployment etl: workPool: String should match"),
    "a time that no day has": (
        ("--cron", "0 25 * * *"),
        ETL,
        1,
        "deployment etl: schedules[cron].cron.expression: '0 25 * * *' cannot be read: the second field, the hour,",
    ),
    "a day that no month has": (("--cron", "0 6 30 2 *"), ETL, 1, "schedules[cron].cron.expression: it never fires"),
    "a zone of nowhere": (
        ("--interval", "60", "--timezone", "Oslo"),
        ETL,
        1,
        "deployment etl: schedules[interval].timezone: 'Oslo' is no time zone",
    ),
    "a zone of no schedule": (("--timezone", "Europe/Oslo"), ETL, 2, "--timezone is that of --cron, --interval or"),
    "a name of signs only": (("--name", "!!"), ETL, 1, "flow name '!!': it needs a letter or a digit"),
    "a file with too much source": (
        (),
        ETL + "#" * 140_000,
        1,
        "inline source at most 131072. Put the code into an image and deploy with --from-image.",
    ),
    "a broken file": ((), "def f(:\n", 1, "etl.py, line 1: `def f(:`: SyntaxError: invalid syntax"),
}


@pytest.mark.parametrize(("words", "text", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(
    words: tuple[str, ...], text: str, code: int, message: str, penstock: CommandLine, write: Write
) -> None:
    """With one error, and nothing on stdout that a pipe to kubectl would apply."""
    write("etl.py", text)
    said = penstock("build", "etl.py", *words)
    assert (said.code, said.out) == (code, "")
    assert message in said.err


# What penstock.yaml says of a deployment, and what is said of that.
NEVER: dict[str, tuple[str, str]] = {
    "a cron that never fires": (
        '{schedules: [{slug: a, cron: "0 0 30 2 *"}]}',
        "deployment etl: schedules[a].cron.expression: it never fires",
    ),
    "a zone that is none": (
        '{schedules: [{slug: a, cron: "@daily", timezone: Europe/Berln}]}',
        "deployment etl: schedules[a].timezone: 'Europe/Berln' is no time zone",
    ),
    "a limit of nothing": ("{concurrency: {limit: 0}}", "deployment etl: concurrency.limit: 0 lets no run start"),
}


@pytest.mark.parametrize(("said", "message"), NEVER.values(), ids=NEVER)
@pytest.mark.parametrize("command", ["build", "deploy"])
def test_what_a_project_says_that_makes_no_runs_is_refused(
    command: str, said: str, message: str, penstock: CommandLine, write: Write, cluster: Cluster
) -> None:
    write("etl.py", ETL)
    fields = {"entrypoint": "etl.py:etl", **yaml.safe_load(said)}
    write("penstock.yaml", yaml.safe_dump({"deployments": [fields]}))
    assert penstock.fails(command).startswith(f"error: {message}")
    assert cluster.requests == []


def test_a_deployment_of_a_project_is_named_as_in_the_cluster_or_as_in_the_file(
    penstock: CommandLine, write: Write
) -> None:
    write("etl.py", f"{LOAD_ALL}\n@flow(name='Nightly')\ndef other(): ...\n")
    write("penstock.yaml", "deployments: [{entrypoint: 'etl.py:load_all'}, {entrypoint: 'etl.py:other'}]\n")
    names = {"load-all": "load-all", "load_all": "load-all", "nightly": "nightly", "other": "nightly"}
    for name, made in names.items():
        assert documents(penstock.ok("build", "--name", name))[-1]["metadata"] == {"name": made}
    said = penstock.fails("build", "--name", "load")
    assert said == "error: penstock.yaml: it has no deployment load; it has load_all (load-all), other (nightly)\n"


def test_two_deployments_of_a_project_that_end_as_one_are_refused(penstock: CommandLine, write: Write) -> None:
    write("etl.py", LOAD_ALL)
    entries = "{entrypoint: 'etl.py:load_all', tags: [a]}, {entrypoint: etl.py, name: load-all, tags: [b]}"
    write("penstock.yaml", f"deployments: [{entries}]\n")
    said = penstock.fails("build", "--all")
    assert said == "error: penstock.yaml: deployments: two would be named load-all: give one of them another name\n"


def test_a_project_delivers_a_bundle_that_is_made_now(penstock: CommandLine, write: Write) -> None:
    """Once for all deployments of a flow: two picklings need not have the same bytes."""
    write("neighbour.py", "def double(n):\n    return 2 * n\n")
    code = "def etl(n: int = 1):\n    return neighbour.double(n)\n"
    write("etl.py", f"import neighbour\nfrom penstock import flow\n\n@flow\n{code}")
    entries = "{entrypoint: 'etl.py:etl', bundle: true}, {entrypoint: 'etl.py:etl', bundle: true, name: weekly}"
    write("penstock.yaml", f"deployments: [{entries}]\n")
    made, *deployments = documents(penstock.ok("build", "--all"))
    assert [body["metadata"]["name"] for body in deployments] == ["etl", "weekly"]
    bundle = made["spec"]["code"]["bundle"]
    assert bundle["pythonVersion"].startswith("3.")
    assert bundle["penstockVersion"]
    assert b"neighbour" in zlib.decompress(base64.b64decode(bundle["data"]))


def test_the_option_for_a_bundle_is_a_field_of_the_project(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    write("penstock.yaml", "deployments: [{entrypoint: 'etl.py:etl'}]\n")
    said = penstock.fails("build", "--all", "--bundle", code=2)
    assert "error: --bundle: say it in penstock.yaml (as bundle: true), or name a FILE.py\n" in said


@pytest.mark.parametrize("target", [("etl.py",), ()], ids=["a file", "a project"])
def test_pool_and_image_are_those_of_the_settings_where_nobody_names_any(
    target: tuple[str, ...], penstock: CommandLine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_DEPLOY_WORK_POOL", "gpu")
    monkeypatch.setenv("PENSTOCK_DEPLOY_IMAGE", "registry/etl:2")
    write("etl.py", ETL)
    write("penstock.yaml", "deployments: [{entrypoint: 'etl.py:etl'}]\n")
    spec = documents(penstock.ok("build", *target))[-1]["spec"]
    assert (spec["workPool"], spec["pod"]) == ("gpu", {"image": "registry/etl:2"})
    write("penstock.yaml", "deployments: [{entrypoint: 'etl.py:etl', workPool: cpu, image: 'registry/etl:3'}]\n")
    over = ("--pool", "cpu", "--image", "registry/etl:3") if target else ()
    spec = documents(penstock.ok("build", *target, *over))[-1]["spec"]
    assert (spec["workPool"], spec["pod"]) == ("cpu", {"image": "registry/etl:3"})


def test_a_missing_file_names_the_one_that_was_meant(penstock: CommandLine, write: Write) -> None:
    write("etl.py", ETL)
    assert penstock.fails("build", "elt.py") == "error: elt.py: there is no such file; did you mean etl.py?\n"
