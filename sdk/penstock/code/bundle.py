"""A flow as one piece of bytes: a cloudpickle of the flow object, and the text of the local modules it needs.

What is defined in a notebook, at a prompt or in the main script goes by value, for it cannot be imported. Local modules
go as files: in the run they are modules again, that can be imported by whoever wants (a process of a task runner, a
pickle, an import within a function), with lines in their tracebacks. `docs/designs/011` compares.
"""

from __future__ import annotations

import base64
import hashlib
import io
import pickle
import platform
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BundleMismatch, CodeUnavailable, DefinitionError
from . import local_modules
from .folders import kept
from .trees import Tree

if TYPE_CHECKING:
    from ..flows import Flow

MAX_BYTES = 64 << 20  # of a bundle, packed or unpacked
FLOW = "flow.pickle"
MODULES = "modules"


class Bundle(NamedTuple):
    """A packed flow."""

    data: bytes
    python_version: str
    penstock_version: str

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the bytes."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def text(self) -> str:
        """The bytes as they stand in a Flow, in base64."""
        return base64.b64encode(self.data).decode()


def pack(flow: Flow[Any, Any]) -> Bundle:
    """The flow with what it uses. Raises DefinitionError where something of it cannot leave this process."""
    from .. import __version__

    pickled, modules = _pickled(flow)
    files = local_modules.files_of(modules)
    data = zlib.compress(pickle.dumps({"flow": pickled, "modules": dict(sorted(files.items()))}, protocol=5), 9)
    return Bundle(data, platform.python_version(), __version__)


def check(python_version: str, penstock_version: str) -> None:
    """Raise BundleMismatch where a bundle of these versions cannot be opened here.

    Pickled functions are bytecode, which holds for one minor version of Python; and pickled flows have the attributes
    of the SDK's release they were made by.
    """
    from .. import __version__

    here = platform.python_version()
    wrong = [
        f"{what} {made} and the image has {what} {present}"
        for what, made, present in (("Python", python_version, here), ("Penstock", penstock_version, __version__))
        if _release(made) != _release(present)
    ]
    if wrong:
        raise BundleMismatch(
            f"spec.code.bundle: it was made with {'; with '.join(wrong)}: deploy it again from Python {_release(here)} "
            f"with Penstock {_release(__version__)}, or set an image that has Python {_release(python_version)} and "
            f"Penstock {_release(penstock_version)}"
        )


def unpack(data: bytes) -> Path:
    """The folder of an opened bundle: its modules, to be put on sys.path, and its flow. Raises CodeUnavailable."""

    def fill(folder: Path) -> None:
        try:
            opened = zlib.decompressobj()
            content = pickle.loads(opened.decompress(data, MAX_BYTES))  # noqa: S301 - it is code that is asked to run
            flow, modules = content["flow"], content["modules"]
        except Exception as error:
            raise CodeUnavailable(
                f"spec.code.bundle: it cannot be opened ({type(error).__name__}: {error}): deploy it again"
            ) from error
        (folder / FLOW).write_bytes(flow)
        (folder / MODULES).mkdir()
        tree = Tree(folder / MODULES, "spec.code.bundle", MAX_BYTES)
        for name, text in modules.items():
            tree.write(name, (text,))

    return kept("bundle", hashlib.sha256(data).hexdigest(), fill)


def fetch(url: str, digest: str, secret: Mapping[str, str]) -> bytes:
    """A bundle from object storage, of that digest and no other. Raises CodeUnavailable."""
    from .archives import downloaded

    with downloaded(url, digest, secret, f"spec.code.bundle.url: {url}") as (file, _):
        return file.read(MAX_BYTES)


def _release(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _pickled(flow: Flow[Any, Any]) -> tuple[bytes, set[str]]:
    """The pickle, and the names of the modules that something in it is from."""
    import cloudpickle

    modules: set[Any] = {flow.__module__}

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # the library has no types
        def reducer_override(self, value: Any) -> Any:
            modules.add(getattr(value, "__module__", None))
            if isinstance(value, type(io)):
                modules.add(value.__name__)
            modules.update(local_modules.imported_by(value))
            return super().reducer_override(value)

    out = io.BytesIO()
    try:
        Pickler(out, protocol=5).dump(flow)
    except Exception as error:  # user code's own classes may raise anything
        raise DefinitionError(
            f"flow {flow.name!r} cannot be bundled: {error}; make what it uses within the flow (a connection, an open "
            "file, a lock), or deliver its code in another way"
        ) from error
    return out.getvalue(), {name for name in modules if name and isinstance(name, str)}
