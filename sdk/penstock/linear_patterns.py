"""Regular expressions of others, in time that grows with pattern and text alone, whoever wrote them. Pure.

Called where values are held to a JSON Schema. Python's own expressions go back and forth, and a pattern of six letters
keeps them busy for days. pydantic's engine never goes back, and it is the one that pydantic's own patterns are for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

MAX_WORK = 10_000_000
"""Places in the pattern times characters of the text: a quarter of a second where the engine is slowest."""

CLASS = 4  # places of a class such as \\w that are looked at together: a character has up to four bytes
MAX_PATTERN = 4096

_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\\\]])*\]?|\{(?:\d*,)?(\d+)\}|\{(\d+),\}|.", re.DOTALL)


def found(pattern: str, text: str) -> Literal[True, False, None]:
    """Whether the pattern is somewhere in the text; None where that cannot be said in bounded time.

    It cannot of what must go back (references to groups, look-around), of what the engine does not know, and of a large
    pattern in a long text.
    """
    validator = _compiled(pattern)
    if validator is None or _places(pattern) * (len(text) + 1) > MAX_WORK:
        return None
    return validator.isinstance_python(text)


def is_pattern(pattern: str) -> bool:
    """Whether it is a regular expression at all, here or in Python."""
    if _compiled(pattern):
        return True
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator | None:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if len(pattern) > MAX_PATTERN:
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None


@lru_cache(maxsize=256)
def _places(pattern: str) -> int:
    """How many places the pattern has at most once its counted repetitions are written out."""
    groups, last = [0], 0
    for token in _TOKEN.finditer(pattern):
        text, most = token.group(), token.group(1) or token.group(2)
        if most:
            groups[-1] += last * (int(most) - 1)
            last *= int(most)
        elif text == "(":
            groups.append(0)
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        else:
            last = 1 if len(text) == 1 or (text[0] == "[" and text.isascii() and "\\" not in text) else CLASS
            groups[-1] += last
    return sum(groups) + 1
