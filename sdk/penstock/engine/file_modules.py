"""Modules that were executed from a file under a name that an import would not find, so that other processes do too.

Whoever executes one (the runner in a pod, the command line) adds it here. Pickles name what is in a module by the
module: a process of the task runner is told the files by its environment (`told`, `hear`), a worker elsewhere gets the
text with each call (`texts`, `provide`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..api import labels

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = labels.ENV_TASK_MODULES  # of a process that makes calls: paths by name, in JSON

Texts = dict[str, tuple[str, bytes]]  # path and text by the name of the module
_known: Texts = {}


def add(name: str, path: str, text: bytes) -> None:
    """The module `name` is executed from this text here."""
    _known[name] = (path, text)


def texts() -> Texts:
    """All that were executed, to be sent to where the files are not."""
    return dict(_known)


def told() -> dict[str, str]:
    """What the environment of a process on this machine needs to find them."""
    import json

    return {ENVIRONMENT: json.dumps({name: path for name, (path, _) in _known.items()})}


def hear(environment: Mapping[str, str]) -> None:
    """In such a process: make them importable. A file that is not there any more is not."""
    import json
    from contextlib import suppress
    from pathlib import Path

    found: Texts = {}
    for name, path in json.loads(environment.get(ENVIRONMENT) or "{}").items():
        with suppress(OSError):
            found[name] = (path, Path(path).read_bytes())
    provide(found)


def provide(modules: Texts) -> None:
    """Make them importable here; one whose text has changed since is imported anew."""
    for name, (path, text) in modules.items():
        if name in _known and _known[name][1] == text:
            continue
        _known[name] = (path, text)
        sys.modules.pop(name, None)
    if modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds them by name, ahead of everything else: the other side runs this text, whatever the name means here."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG004 - as importlib calls it
        """How to import the module; None for any other."""
        if name not in _known:
            return None
        from importlib.abc import SourceLoader
        from importlib.util import spec_from_loader

        class Loader(SourceLoader):
            def get_filename(self, fullname: str) -> str:
                return _known[fullname][0]

            def get_data(self, path: Any) -> bytes:  # noqa: ARG002 - the text is here, wherever it was
                return _known[name][1]

        return spec_from_loader(name, Loader())
