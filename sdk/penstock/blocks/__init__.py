"""Blocks: typed pieces of configuration that flows and people share, with their secrets kept apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core import Block as Block
    from .fields import SecretDict as SecretDict
    from .system import Secret as Secret

_HOMES = {"Block": "core", "Secret": "system", "SecretDict": "fields"}

__all__ = ["Block", "Secret", "SecretDict"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
