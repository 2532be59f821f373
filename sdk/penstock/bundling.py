"""From a flow on this machine to the `spec.code` of a Flow that runs it elsewhere.

Called by the command line and `runner.storage`.

A bundle that is too large for a Flow is put into object storage first: making its code is then a write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .api.flow import MAX_BUNDLE, BundleCode, Code
from .errors import DefinitionError
from .settings import get_current_settings

if TYPE_CHECKING:
    from .flows import Flow

KIB = 1024


def bundled(flow: Flow[Any, Any], storage: str | None = None) -> Code:
    """The flow as a bundle: in the Flow where it fits, else below the URL `storage` (`code_storage` when unset).

    Raises DefinitionError where something of it cannot be pickled, or it fits nowhere.
    """
    from .code import bundle

    packed = bundle.pack(flow)
    made = {"python_version": packed.python_version, "penstock_version": packed.penstock_version}
    text = packed.text
    if len(text) <= MAX_BUNDLE:
        return Code(bundle=BundleCode(data=text, **made))
    place = storage or get_current_settings().code_storage
    if not place:
        raise DefinitionError(
            f"flow {flow.name!r}: its bundle has {len(text) // KIB} KiB in base64, a Flow holds {MAX_BUNDLE // KIB}. "
            "Name object storage for it (PENSTOCK_CODE_STORAGE=s3://bucket/bundles), keep data out of the notebook's "
            "variables, or deliver the code by git or in an image"
        )
    from .results.storage import open_storage
    from .results.urls import parse

    url = parse(place, "code storage")
    name = f"{packed.digest.partition(':')[2]}.bundle"
    open_storage(url).put(name, packed.data)
    return Code(bundle=BundleCode(url=str(url.child(name)), digest=packed.digest, **made))
