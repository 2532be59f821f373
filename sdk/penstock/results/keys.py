"""From a key to the path of its record. Pure; different keys have different paths, whatever stands in them."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import quote

LONGEST = 150  # characters of one name: file systems take 255 bytes, and a temporary file's name is longer


def path_of(key: str) -> str:
    """The key with everything but letters, digits, `-`, `_`, `.`, `~` and `/` written as `=2A`, long names cut.

    No path leads out of its folder: there is no empty name, no `.` and no `..`.
    """
    return "/".join(_name(part) for part in key.split("/"))


def _name(part: str) -> str:
    plain = quote(part, safe="").replace("%", "=")
    if not plain.strip("."):  # empty, or nothing but dots
        return "=" + "=2E" * len(part)
    if plain[0] == ".":  # hidden files are temporary ones
        plain = "=2E" + plain[1:]
    if len(plain) > LONGEST:
        return f"{plain[:LONGEST]}={sha256(part.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return plain
