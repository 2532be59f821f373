"""Where the process in the pod begins: the API server answers its connection while it imports the rest, `attempt`.

What is imported here, and by `connection`, delays every run before it has asked for anything:
docs/designs/022-start-of-a-run.md has what each part of a start takes.
"""

from __future__ import annotations

import gc
import os
import sys

# Of what is imported nothing is garbage, and looking for some is a tenth of the start. `attempt` begins with it again
# before user code does.
gc.disable()

from .connection import Api, NotInPod  # noqa: E402 - the first of these imports


def main() -> int:
    """Run the attempt this pod is for; the exit code."""
    api: Api | None = None
    try:
        api = Api.from_environment()
        api.open_ahead()
    except NotInPod:
        pass  # who needs it says so
    from .attempt import main

    return main(api)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that user code left behind must not hold the pod
