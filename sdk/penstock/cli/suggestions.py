"""What to say of a word that is not known: the one that was probably meant, or all there are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LISTED = 16


def instead(word: str, known: Iterable[str], none: str) -> str:
    """`did you mean a?`, else `there are a, b, c`, else `none`."""
    words = list(dict.fromkeys(known))
    if not words:
        return none
    by_lower = {each.lower(): each for each in reversed(words)}
    close = get_close_matches(word.lower(), by_lower, n=3)
    if close:
        return f"did you mean {' or '.join(by_lower[each] for each in close)}?"
    return f"there {'is' if len(words) == 1 else 'are'} {listed(words)}"


def listed(words: Iterable[str]) -> str:
    """`a, b, c`, of many only the first."""
    all_of_them = list(words)
    more = len(all_of_them) - MAX_LISTED
    return ", ".join(all_of_them[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
