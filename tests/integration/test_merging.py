"""Pod templates are merged as the API server merges them: each pair is also given to its own strategic merge patch."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from api_client import ApiClient
from penstock_operator.launch.merging import KEYS, merged

Json = dict[str, Any]
Strategy = st.SearchStrategy[Any]
PAIRS = 100

words = st.sampled_from(["a", "b", "c"])


def maybe(**fields: Strategy) -> Strategy:
    return st.fixed_dictionaries({}, optional=fields)


def some(key: str, identity: Strategy, *kinds: dict[str, Strategy], **more: Strategy) -> Strategy:
    """Up to three objects that differ in their key; of the kinds, each has one."""
    items = [st.fixed_dictionaries({key: identity, **kind}, optional=more) for kind in (kinds or ({},))]
    return st.lists(st.one_of(items), max_size=3, unique_by=lambda item: str(item[key]))


key_of = st.fixed_dictionaries({"name": words, "key": words})
sources = st.sampled_from(["secretKeyRef", "configMapKeyRef"]).flatmap(
    lambda kind: st.fixed_dictionaries({kind: key_of})
)
containers = some(
    "name",
    words,
    {"image": words},
    command=st.lists(words, max_size=2),
    env=some("name", words, {"value": words}, {"valueFrom": sources}),
    envFrom=st.lists(st.builds(lambda name: {"configMapRef": {"name": name}}, words), max_size=2),
    resources=maybe(limits=st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2"]))),
    ports=some("containerPort", st.sampled_from([80, 81]), hostPort=st.none()),
    volumeMounts=some("mountPath", st.sampled_from(["/x", "/y"]), {"name": st.just("v")}, readOnly=st.booleans()),
)
specs: dict[str, Strategy] = {
    "volumes": some(
        "name",
        st.sampled_from(["v", "w"]),
        {"emptyDir": maybe(medium=st.just("Memory"), sizeLimit=st.just("1Gi"))},
        {"configMap": st.fixed_dictionaries({"name": words}, optional={"optional": st.booleans()})},
    ),
    "nodeSelector": st.dictionaries(words, words, max_size=2) | st.none(),
    "tolerations": st.lists(st.builds(lambda key: {"key": key, "operator": "Exists"}, words), max_size=2),
    "hostAliases": some(
        "ip", st.sampled_from(["10.0.0.1", "10.0.0.2"]), hostnames=st.lists(words, min_size=1, max_size=2)
    ),
    "imagePullSecrets": some("name", words),
    "securityContext": maybe(runAsUser=st.integers(1, 3), fsGroup=st.integers(1, 3)),
}
templates = st.fixed_dictionaries(
    {"spec": st.fixed_dictionaries({"containers": containers}, optional=specs)},
    optional={"metadata": maybe(labels=st.dictionaries(words, words, max_size=2))},
)


@st.composite
def patches(draw: st.DrawFn) -> Json:
    """A template, some of whose parts are directives."""
    body: Json = draw(templates)
    spec = body["spec"]
    for field in ("hostAliases", "imagePullSecrets"):
        if spec.get(field) and draw(st.booleans()):
            first = spec[field][0]
            spec[field][0] = {"$patch": "delete", **{key: first[key] for key in ("ip", "name") if key in first}}
    if spec.get("securityContext") and draw(st.booleans()):
        spec["securityContext"]["$patch"] = "replace"
    for container in spec["containers"]:
        if container.get("env") and draw(st.booleans()):
            container["env"].insert(0, {"$patch": "replace"})
    return body


def based(template: Json) -> Json:
    """The template with what makes it a valid pod."""
    floor = {"spec": {"containers": [{"name": "flow", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]}}
    return {**template, "spec": {**template["spec"], **merged(floor, {"spec": template["spec"]})["spec"]}}


def unordered(value: Any, name: str = "") -> Any:
    """A template without the order of its keyed lists, in which the two differ and pods do not care."""
    if isinstance(value, dict):
        return {key: unordered(item, key) for key, item in value.items()}
    if isinstance(value, list) and name in KEYS:
        return sorted((unordered(item) for item in value), key=lambda item: str(item[KEYS[name]]))
    return value


class Server:
    """What the API server makes of templates."""

    def __init__(self, admin: ApiClient, namespace: str) -> None:
        self._admin, self._path = admin, f"/api/v1/namespaces/{namespace}/podtemplates"

    def keep(self, template: Json) -> bool:
        """Make it the template that is patched; whether it is valid."""
        body = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "base"}, "template": template}
        self._admin.http.delete(f"{self._path}/base")
        return self._sent("POST", self._path, body, "application/json") is not None

    def patched(self, over: Json) -> Json | None:
        """It, after a strategic merge patch; None where that is refused."""
        return self._sent(
            "PATCH", f"{self._path}/base?dryRun=All", {"template": over}, "application/strategic-merge-patch+json"
        )

    def completed(self, template: Json) -> Json | None:
        """A template with the server's defaults; None where it is refused."""
        body = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "other"}, "template": template}
        return self._sent("POST", f"{self._path}?dryRun=All", body, "application/json")

    def _sent(self, method: str, path: str, body: Json, kind: str) -> Json | None:
        answer = self._admin.http.request(method, path, content=json.dumps(body), headers={"Content-Type": kind})
        assert answer.status_code in (200, 201, 422), answer.text
        found: Json | None = answer.json().get("template")
        return found


@pytest.fixture(scope="module")
def server(admin: ApiClient) -> Server:
    name = f"merging-{uuid.uuid4().hex[:8]}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return Server(admin, name)


@settings(
    max_examples=PAIRS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(base=templates.map(based), over=patches())
def test_what_the_api_server_makes_of_it_is_what_is_made_here(base: Json, over: Json, server: Server) -> None:
    """Wherever it makes a valid pod; what has two sources at once it refuses, and here the later one stands."""
    assume(server.keep(base))
    theirs = server.patched(over)
    assume(theirs is not None)
    assert unordered(server.completed(merged(base, over))) == unordered(theirs)


def test_the_source_of_the_later_stands_where_a_patch_is_refused(server: Server) -> None:
    base = based({"spec": {"volumes": [{"name": "w", "emptyDir": {}}], "containers": []}})
    over = {"spec": {"volumes": [{"name": "w", "configMap": {"name": "c"}}]}}
    assert server.keep(base)
    assert server.patched(over) is None
    mine = server.completed(merged(base, over))
    assert mine is not None
    (found,) = [volume for volume in mine["spec"]["volumes"] if volume["name"] == "w"]
    assert found.keys() == {"name", "configMap"}
