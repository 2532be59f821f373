"""An API server on the loopback that plays just enough for the runner, and fails as a test wants it to.

It keeps objects by path, applies JSON and merge patches, checks them against the models of the API, keeps sealed pages
and terminal states as they are, and takes the steps of a run that the table of states has. It knows nothing of RBAC,
admission policies, versions and watches: `tests/integration/test_runner.py` has the real one.
"""

from __future__ import annotations

import copy
import enum
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic

import json_patches
from loopback import LoopbackServer, Request, answer
from penstock.api.flowrun import FlowRun
from penstock.api.states import StateType, is_legal
from penstock.api.taskrunpage import TaskRunPage

Json = dict[str, Any]
_MODELS = {"FlowRun": FlowRun, "TaskRunPage": TaskRunPage}


class Lost(enum.Enum):
    """What is lost of a request before the connection ends."""

    REQUEST = "nothing was done"
    ANSWER = "it was done"


Fault = Lost | bytes | None  # bytes: this answer, and nothing is done


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.body = {"kind": "Status", "code": code, "reason": reason, "message": message}
        self.code = code


class LoopbackApi(LoopbackServer):
    """Objects by path; `fault` says of each request what goes wrong with it, `before` is called ahead of it."""

    def __init__(self, pki: Path) -> None:
        super().__init__(pki, self._respond)
        self.objects: dict[str, Json] = {}
        self.fault: Callable[[Request], Fault] = lambda _: None
        self.before: Callable[[Request], object] = lambda _: None

    def writes(self, part: str = "") -> list[Request]:
        """The requests so far that are no reads, of paths that contain `part`."""
        return [request for request in self.requests if request.method != "GET" and part in request.path]

    @property
    def pages(self) -> list[Json]:
        """All pages of task records, in their order."""
        found = [body for body in self.objects.values() if body["kind"] == "TaskRunPage"]
        return sorted(found, key=lambda page: (page["attempt"], page["number"]))

    def _respond(self, request: Request, connection: ssl.SSLSocket) -> None:
        self.before(request)
        fault = self.fault(request)
        if isinstance(fault, bytes):
            connection.sendall(fault)
            return
        if fault is Lost.REQUEST:
            connection.close()
            return
        try:
            done = answer(201 if request.method == "POST" else 200, self._do(request))
        except Refusal as refusal:
            done = answer(refusal.code, refusal.body)
        if fault is Lost.ANSWER:
            connection.close()
        else:
            connection.sendall(done)

    def _do(self, request: Request) -> Json:
        if request.method == "POST":
            body = request.json
            path = f"{request.path}/{body['metadata']['name']}"
            if path in self.objects:
                raise Refusal(409, "AlreadyExists", f"{path} already exists")
            return self._store(path, None, body)
        path = request.path.removesuffix("/status")
        if path not in self.objects:
            raise Refusal(404, "NotFound", f"{path} not found")
        known = self.objects[path]
        if request.method == "GET":
            return known
        if "merge-patch" in request.headers["content-type"]:
            return self._store(path, known, _merged(known, request.json))
        try:
            patched = json_patches.applied(known, request.json)
        except json_patches.Refused as error:
            raise Refusal(422, "Invalid", str(error)) from error
        if (type_ := json_patches.doubled(patched)) is not None:
            raise Refusal(422, "Invalid", f"status.conditions: Duplicate value: {type_}")
        return self._store(path, known, {**known, "status": patched.get("status") or {}})

    def _store(self, path: str, known: Json | None, body: Json) -> Json:
        try:
            _MODELS[body["kind"]].model_validate(body)
        except pydantic.ValidationError as error:
            raise Refusal(422, "Invalid", str(error)) from error
        if known is not None:
            _check(known, body)
        self.objects[path] = copy.deepcopy(body)
        return body


def _merged(known: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(known) if isinstance(known, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _check(known: Json, body: Json) -> None:
    """The rules of the CRDs that runners could break."""
    if known.get("sealed") and (not body.get("sealed") or body.get("data") != known.get("data")):
        raise Refusal(422, "Invalid", "sealed: a sealed page is not written again; begin the next one")
    before, after = (known.get("status") or {}).get("state"), (body.get("status") or {}).get("state")
    if before is None or before == after:
        return
    if StateType(before["type"]).terminal or after["seq"] <= before["seq"]:
        raise Refusal(422, "Invalid", "state: a terminal state cannot be changed, and seq grows")
    if after["seq"] == before["seq"] + 1 and not is_legal(StateType(before["type"]), StateType(after["type"])):
        raise Refusal(422, "Invalid", "state.type: no run moves so")
