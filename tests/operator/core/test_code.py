"""What a run remembers of each form of code, what is kept for it, and what cannot be delivered."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from penstock.api import names
from penstock.api.resolved import ResolvedCode
from penstock_operator.core import code
from penstock_operator.core.code import Copy

Json = dict[str, Any]
MADE = {"pythonVersion": "3.11.2", "penstockVersion": "0.1.0"}
SHA = "sha256:" + "a" * 64
SECRET = {"secretRef": {"name": "deploy-token"}}
POOL = {"metadata": {"name": "warm"}, "spec": {"type": "Process"}}

REMEMBERED: dict[str, tuple[Json, Json]] = {
    "image": ({"image": {"image": "x"}}, {"kind": "image"}),
    "image without a word": ({"image": None}, {"kind": "image"}),
    "git": (
        {"git": {"url": "https://g/x", "path": "jobs", **SECRET}},
        {"kind": "git", "ref": "HEAD", "url": "https://g/x", "path": "jobs", **SECRET},
    ),
    "archive": (
        {"archive": {"url": "s3://b/x.zip", "digest": SHA}},
        {"kind": "archive", "url": "s3://b/x.zip", "digest": SHA},
    ),
    "a large bundle": (
        {"bundle": {"url": "s3://b/x", "digest": SHA, **MADE}},
        {"kind": "bundle", "url": "s3://b/x", "digest": SHA, **MADE},
    ),
}


def flow(given: Json, **more: Any) -> Json:
    return {"spec": {"code": given, **more}}


@pytest.mark.parametrize(("given", "remembered"), REMEMBERED.values(), ids=REMEMBERED)
def test_code_that_is_elsewhere_is_named_and_not_kept(given: Json, remembered: Json) -> None:
    assert code.problem(flow(given)) is None
    assert code.remembered(flow(given)) == (remembered, ())
    ResolvedCode.model_validate(remembered)


def test_source_and_small_bundles_are_kept_under_their_digest() -> None:
    digest = names.content_digest("x = 1")
    found, copies = code.remembered(flow({"source": {"text": "x = 1"}}))
    assert found == {"kind": "source", "digest": digest, "configMap": names.code_config_map(digest)}
    assert copies == (Copy(digest, "flow.py", "x = 1"),)
    data = base64.b64encode(b"\x00packed").decode()
    found, copies = code.remembered(flow({"bundle": {"data": data, **MADE}}))
    digest = names.content_digest(b"\x00packed")
    assert found == {"kind": "bundle", "digest": digest, "configMap": names.code_config_map(digest), **MADE}
    assert copies == (Copy(digest, "flow.bundle", b"\x00packed"),)


def test_code_that_cannot_be_delivered() -> None:
    assert "set one of image, source, bundle, git, archive" in (code.problem(flow({})) or "")
    assert "spec.code.bundle.data: it is no base64" in (code.problem(flow({"bundle": {"data": "x", **MADE}})) or "")


def test_workers_that_are_there_mount_no_secret_for_it() -> None:
    private = flow({"git": {"url": "https://g/x", **SECRET}})
    assert "spec.code.git.secretRef: the workers of WorkPool warm" in (code.problem(private, POOL) or "")
    assert code.problem(private, {**POOL, "spec": {"type": "Job"}}) is None
    assert code.problem(flow({"git": {"url": "https://g/x"}}), POOL) is None


def test_requirements_of_the_deployment_go_before_those_of_the_flow() -> None:
    mine = flow({"image": {}}, requirements=["numpy"])
    assert code.requirements(flow({"image": {}}), None) == (None, ())
    _, (copy,) = code.requirements(mine, {"spec": {}})
    assert (copy.key, copy.content) == ("requirements.txt", "numpy\n")
    _, (copy,) = code.requirements(mine, {"spec": {"requirements": ["six", "pandas"]}})
    assert copy.content == "six\npandas\n"
    assert code.requirements(mine, {"spec": {"requirements": []}}) == (None, ()), "none is a word of its own"
    source = code.remembered(flow({"source": {"text": "numpy\n"}}))[0]
    assert code.requirements(mine, None)[0] != {name: source[name] for name in ("digest", "configMap")}
