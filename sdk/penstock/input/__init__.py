"""Typed input for runs that go on: models to wait for (`RunInput`), and messages between runs of this process.

`mailbox` holds the messages, `prompt` asks at the terminal. Imports pydantic; nothing of the engine imports this.
"""

from __future__ import annotations

from .messages import InputIterator, areceive_input, asend_input, receive_input, send_input
from .run_input import (
    AutomaticRunInput,
    Keyset,
    RunInput,
    RunInputMetadata,
    keyset_from_base_key,
    keyset_from_paused_state,
    run_input_subclass_from_type,
)

__all__ = [
    "AutomaticRunInput",
    "InputIterator",
    "Keyset",
    "RunInput",
    "RunInputMetadata",
    "areceive_input",
    "asend_input",
    "keyset_from_base_key",
    "keyset_from_paused_state",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]
