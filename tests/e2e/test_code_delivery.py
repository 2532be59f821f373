"""Code reaches pods and warm workers on a real node, from a real git server, S3 and package index; or says why not."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from git_server import GitServer, Repository
from installation import Penstock
from node_door import HOST, door
from penstock.api import names
from penstock.results.storage import open_storage
from penstock.results.urls import parse
from storage_servers import S3Server
from wheels import wheel

Json = dict[str, Any]
API = "penstock.dev/v1alpha1"
PASSWORD = "only-for-reading"
KEYS = {"AWS_ACCESS_KEY_ID": S3Server.KEY, "AWS_SECRET_ACCESS_KEY": S3Server.SECRET, "AWS_REGION": "us-east-1"}
JOBS = "import aid\nfrom penstock import flow\n\n\n@flow\ndef etl():\n    return aid.VALUE\n"
AID = "VALUE = {!r}\n"
NEEDS = """
from penstock import flow


@flow
def needs():
    import tealeaf
    return tealeaf.VERSION
"""
STORAGE = "PENSTOCK_CODE_STORAGE"
PODS, WARM = "code-pods", "code-warm"


class Index(ThreadingHTTPServer):
    """An index of packages: a folder for each, and the paths that were asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        asked = self.asked = list[str]()

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, *_: object) -> None:
                asked.append(self.path)

            def log_message(self, format: str, *words: object) -> None:
                """Nobody reads it."""

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))


@dataclass(frozen=True)
class Sources:
    """Where code comes from, as pods reach it."""

    penstock: Penstock
    folder: Path
    index: Index
    repository: Repository
    commit: str
    private: str
    public: str
    bucket: tuple[str, str]  # from here, and from a pod
    digest: str

    @property
    def archive(self) -> str:
        return str(parse(self.bucket[1]).child("flows.tgz"))

    def start(self, pool: str, *deployments: str) -> None:
        """A run of each, called `<pool>-<deployment>`, in this pool."""
        runs = [
            {
                "apiVersion": API,
                "kind": "FlowRun",
                "metadata": {"name": f"{pool}-{name}"},
                "spec": {"deploymentRef": {"name": name}, "workPool": pool},
            }
            for name in deployments
        ]
        self.penstock.apply(*runs)

    def ended(self, pool: str, flow: str) -> Json:
        status: Json = self.penstock.settled(f"{pool}-{flow}", 180)["status"]
        return status


def archived() -> bytes:
    """The project as a build system would put it into a bucket."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in (("src/jobs.py", JOBS), ("src/aid.py", AID.format("archive"))):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture(scope="module")
def sources(penstock: Penstock, shared: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    folder = tmp_path_factory.mktemp("sources")
    for name in ("git", "s3", "index/teapot", "index/tealeaf", "project"):
        (folder / name).mkdir(parents=True)
    wheel(folder / "index/tealeaf", "tealeaf", "1.0")
    wheel(folder / "index/tealeaf", "tealeaf", "2.0")
    wheel(folder / "index/teapot", "teapot", "1.0", "tealeaf<2")
    packed = archived()
    with ExitStack() as stack:
        s3 = S3Server(folder / "s3")
        stack.callback(s3.stop)
        s3.start()
        bucket = parse(s3.bucket())
        open_storage(bucket, KEYS).put("flows.tgz", packed)
        private = stack.enter_context(GitServer(folder / "git", PASSWORD))
        public = stack.enter_context(GitServer(folder / "git"))
        index = stack.enter_context(Index(folder / "index"))
        thread = threading.Thread(target=index.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(index.shutdown)
        ports = {port: stack.enter_context(door(port)).port for port in (s3.port, private.port, public.port)}
        packages = f"http://{HOST}:{stack.enter_context(door(index.server_port)).port}"
        repository = private.repository("flows")
        commit = repository.commit({"src/jobs.py": JOBS, "src/aid.py": AID.format("git")}, tag="v1")
        inside = str(bucket).replace(f"127.0.0.1:{s3.port}", f"{HOST}:{ports[s3.port]}")
        penstock.apply(*objects(inside, packages))
        yield Sources(
            *(penstock, folder, index, repository, commit),
            private=f"http://{HOST}:{ports[private.port]}/flows.git",
            public=f"http://{HOST}:{ports[public.port]}/flows.git",
            bucket=(str(bucket), inside),
            digest=names.content_digest(packed),
        )
        penstock.delete(*objects(inside, packages))


def objects(bucket: str, packages: str) -> list[Json]:
    """A pool of pods that share a cache, a pool of warm workers, and what they may read with."""
    env = [{"name": "UV_DEFAULT_INDEX", "value": packages}]
    cache = {
        "env": [*env, {"name": "PENSTOCK_CODE_CACHE", "value": "/cache/code"}],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }
    volumes = [{"name": "cache", "persistentVolumeClaim": {"claimName": "results"}}]
    pods = {"spec": {"containers": [{"name": "flow", **cache}], "volumes": volumes}}
    workers = {"spec": {"containers": [{"name": "flow", "env": env}]}}
    results = {"url": bucket, "secretRef": {"name": "bucket-reader"}}
    worker = {"min": 1, "max": 1, "concurrency": 3}
    secrets = {"flows-token": {"token": PASSWORD}, "wrong-token": {"token": "another-token"}, "bucket-reader": KEYS}
    return [
        *({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": n}, "stringData": d} for n, d in secrets.items()),
        *(
            {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": name}, "spec": spec}
            for name, spec in (
                (PODS, {"type": "Pod", "template": pods}),
                (WARM, {"type": "Process", "template": workers, "results": results, "worker": worker}),
            )
        ),
    ]


@pytest.fixture(scope="module")
def deployed(sources: Sources) -> Sources:
    """The same project in each form, by the command; warm workers have no Secret of a flow."""
    project = sources.folder / "project"
    for name, text in (("jobs.py", JOBS), ("aid.py", AID.format("bundle")), ("needs.py", NEEDS)):
        (project / name).write_text(text)
    from_git = {"path": "src", "ref": "main"}
    reader = {"secretRef": {"name": "bucket-reader"}}
    forms: dict[str, Json] = {
        "private": {"git": {**from_git, "url": sources.private, "secretRef": {"name": "flows-token"}}},
        "public": {"git": {**from_git, "url": sources.public, "ref": "v1"}},
        "archived": {"archive": {"url": sources.archive, "path": "src", **reader}},
        "archived-warm": {"archive": {"url": sources.archive, "path": "src"}},
    }
    forms["private-again"] = forms["private"]
    deployments: list[Json] = [
        {"entrypoint": "jobs.py:etl", "name": name, "flowName": name, "workPool": PODS, "code": code}
        for name, code in forms.items()
    ]
    for name in ("needing", "needing-again"):
        deployments.append({"entrypoint": "needs.py:needs", "name": name, "workPool": PODS, "requirements": ["teapot"]})
    (project / "penstock.yaml").write_text(yaml.safe_dump({"deployments": deployments}))
    sources.penstock.cli("deploy", "--all", "--file", str(project / "penstock.yaml"))
    sources.penstock.cli("deploy", str(project / "jobs.py"), "--name", "bundled", "--pool", PODS, "--bundle")
    (project / "aid.py").write_text(AID.format("large") + f"MORE = {os.urandom(120_000)!r}\n")
    user = replace(sources.penstock, environment={**sources.penstock.environment, **KEYS, STORAGE: sources.bucket[0]})
    large = user.cli("build", str(project / "jobs.py"), "--name", "large", "--pool", PODS, "--bundle").stdout
    sources.penstock.kubectl("apply", "--filename", "-", stdin=large.replace(*map(endpoint, sources.bucket)))
    return sources


def endpoint(bucket: str) -> str:
    """Where a bucket is: a pod knows it by another address than this machine."""
    return bucket.partition("endpoint=")[2]


@pytest.mark.parametrize(
    ("pool", "git", "archive", "bundles"),
    [(PODS, "private", "archived", ["bundled"]), (WARM, "public", "archived-warm", ["bundled", "large"])],
)
def test_each_form_reaches_a_run_and_what_was_fetched_is_told(
    deployed: Sources, pool: str, git: str, archive: str, bundles: list[str]
) -> None:
    """A large bundle is in the bucket, which the worker reads with the credentials of its pool's results."""
    expected = {git: "git", archive: "archive", "needing": "1.0", "bundled": "bundle", "large": "large"}
    started = [*bundles, git, archive, "needing"]
    deployed.start(pool, *started)
    found = {name: deployed.ended(pool, name) for name in started}
    for name, status in found.items():
        assert status["state"]["type"] == "Completed", (name, status["state"])
        assert status["result"]["inline"] == expected[name]
    assert found[git]["code"] == {"commit": deployed.commit}
    assert found[archive]["code"] == {"digest": deployed.digest}
    if pool == PODS:
        said = deployed.penstock.kubectl("logs", f"{pool}-{git}-1")
        assert deployed.commit in said
        assert PASSWORD not in said


def test_a_retry_runs_the_commit_that_the_branch_was(deployed: Sources) -> None:
    deployed.start(PODS, "private")
    assert deployed.ended(PODS, "private")["code"] == {"commit": deployed.commit}
    later = deployed.repository.commit({"src/aid.py": AID.format("later")})
    deployed.penstock.cli("retry", f"{PODS}-private", "--name", "code-again")
    deployed.start(PODS, "private-again")
    again, newer = deployed.penstock.settled("code-again")["status"], deployed.ended(PODS, "private-again")
    assert (again["code"], again["result"]["inline"]) == ({"commit": deployed.commit}, "git")
    assert (newer["code"], newer["result"]["inline"]) == ({"commit": later}, "later")


@pytest.mark.parametrize("pool", [PODS, WARM])
def test_requirements_are_installed_once_for_all_runs(deployed: Sources, pool: str) -> None:
    """From a volume that the pool's pods share, or the folder of the worker."""
    deployed.start(pool, "needing")
    assert deployed.ended(pool, "needing")["state"]["type"] == "Completed"
    asked = len(deployed.index.asked)
    deployed.start(pool, "needing-again")
    assert deployed.ended(pool, "needing-again")["result"]["inline"] == "1.0"
    assert deployed.index.asked[asked:] == []


def flow(name: str, code: Json, **more: Any) -> list[Json]:
    """A flow and its deployment."""
    meta = {"name": name}
    spec = {"code": code, "entrypoint": "jobs:etl", **more}
    return [
        {"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": spec},
        {"apiVersion": API, "kind": "FlowDeployment", "metadata": meta, "spec": {"flowRef": meta, "workPool": PODS}},
    ]


def test_what_cannot_be_had_fails_the_run_by_field_and_remedy(deployed: Sources) -> None:
    bundle = deployed.penstock.get("flow", "bundled")["spec"]["code"]["bundle"]
    git = {"url": deployed.public, "path": "src"}
    reader = {"secretRef": {"name": "bucket-reader"}}
    other = {"url": deployed.archive, "digest": f"sha256:{'0' * 64}", **reader}
    wrong = {**git, "url": deployed.private, "secretRef": {"name": "wrong-token"}}
    deployed.penstock.apply(
        *flow("ref-gone", {"git": {**git, "ref": "v9"}}),
        *flow("old-python", {"bundle": {**bundle, "pythonVersion": "3.9.2"}}),
        *flow("old-penstock", {"bundle": {**bundle, "penstockVersion": "0.0.9"}}),
        *flow("no-such-package", {"image": {}}, requirements=["teapot", "kettle>=2"]),
        *flow("no-such-version", {"image": {}}, requirements=["teapot", "tealeaf==2.0"]),
        *flow("wrong-token", {"git": wrong}),
        *flow("another-archive", {"archive": other}),
        *flow("with-a-secret", {"git": {**git, "secretRef": {"name": "flows-token"}}}),
    )
    everywhere = {
        "ref-gone": ("CodeUnavailable", "spec.code.git.ref: v9 is neither branch nor tag of http://"),
        "old-python": ("BundleMismatch", "it was made with Python 3.9.2 and the image has Python 3.11."),
        "old-penstock": ("BundleMismatch", "or set an image that has Python 3.11 and Penstock 0.0"),
        "no-such-package": ("RequirementsFailed", "spec.requirements: 'kettle>=2' cannot be installed: "),
        "no-such-version": ("RequirementsFailed", "'tealeaf==2.0' cannot be installed: "),
    }
    by_pool = {
        PODS: {
            "wrong-token": ("CodeUnavailable", "spec.code.git.secretRef"),
            "another-archive": ("CodeUnavailable", "it was replaced. Set the digest to the new one"),
        },
        WARM: {
            "with-a-secret": ("InvalidCode", "spec.code.git.secretRef: the workers of WorkPool code-warm are there ")
        },
    }
    for pool, own in by_pool.items():
        deployed.start(pool, *everywhere, *own)
    for pool, own in by_pool.items():
        for name, (reason, message) in {**everywhere, **own}.items():
            state = deployed.ended(pool, name)["state"]
            assert (state["type"], state["reason"]) == ("Failed", reason), (pool, name, state)
            assert message in state["message"], (pool, name)
            assert "another-token" not in str(state)
