"""Texts that match a regular expression, such as contracts have of codes."""

import re
from random import Random
from typing import Final

import numpy as np

_MANY: Final = 8
"""How often at the most what may come any number of times does."""

_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))
_ITEM: Final = re.compile(
    r"(?P<one>\[\^?\]?[^\]\\]*(?:\\[dws\W][^\]\\]*)*\]|\\[dws\W]|[^\\\[\](){}|*+?^$])"
    r"(?:\{(?P<least>\d+)(?P<to>,(?P<most>\d*))?\}|(?P<sign>[?*+]))?"
)


def matching(pattern: str, n: int, rng: np.random.Generator) -> list[str]:
    """Return up to `n` different texts, as many as are found, that match the pattern as a whole.

    Characters, sets of them and how often they come are known, and ``|`` between whole texts.
    Raises ValueError for a pattern that has more, such as groups.
    """
    ways = [_items(way, pattern) for way in pattern.split("|")]
    # Much faster for a letter at a time.
    luck = Random(int(rng.integers(2**63)))  # noqa: S311 # no secret
    found: dict[str, None] = {}
    for number in range(4 * n):
        if len(found) == n:
            break
        text = "".join(
            "".join(luck.choices(letters, k=luck.randint(least, most)))
            for letters, least, most in ways[number % len(ways)]
        )
        found[text] = None
    return list(found)


def _items(way: str, pattern: str) -> list[tuple[list[str], int, int]]:
    """Return the letters that each item may be, and how often it comes: least, most."""
    found, at = [], 0
    while at < len(way):
        item = _ITEM.match(way, at)
        letters = [c for c in _PRINTABLE if re.fullmatch(item["one"], c)] if item else []
        if item is None or not letters:
            raise ValueError(f"no text can be made that matches {pattern}")
        at = item.end()
        found.append((letters, *_times(item)))
    return found


def _times(item: re.Match[str]) -> tuple[int, int]:
    if item["sign"]:
        return {"?": (0, 1), "*": (0, _MANY), "+": (1, _MANY)}[item["sign"]]
    if not item["least"]:
        return 1, 1
    least = int(item["least"])
    if not item["to"]:
        return least, least
    return least, int(item["most"]) if item["most"] else least + _MANY
