"""The files that runs are given, their code, read from ConfigMaps and kept. Called by the agent before a run starts."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from ..api.delivery import GivenFile
from .upstream import Refused, Unreachable, Upstream

Body = dict[str, Any]
KEPT = 64  # files


class GivenFiles:
    """Those that were read last; a ConfigMap of code never changes."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def content(self, namespace: str, file: GivenFile) -> bytes:
        """What is in it. Raises FileNotFoundError, Unreachable and Refused."""
        name = file.config_map
        if name not in self._kept:
            path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
            found = await _patiently(lambda: self._upstream.json("GET", path))
            text, packed = ((found.get(field) or {}).get(file.key) for field in ("data", "binaryData"))
            if text is None and packed is None:
                raise FileNotFoundError(f"ConfigMap {name} has no {file.key}")  # somebody has made another of its name
            self._kept[name] = text.encode() if text is not None else b64decode(packed or "")
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]


async def _patiently(ask: Callable[[], Awaitable[Body]]) -> Body:
    """The answer, where the API server is away or busy for a moment. Raises Unreachable and Refused."""
    for wait in (0.2, 0.5, 1.0, 2.0, 4.0):
        try:
            return await ask()
        except Unreachable:
            await asyncio.sleep(wait)
        except Refused as error:
            if not error.busy:
                raise
            await asyncio.sleep(wait)
    return await ask()
