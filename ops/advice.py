"""Advice: what is wrong, and what to do about it, as a flow's own lines have both."""

import re
from typing import Final

# Of a server that is away; what its client says may have sentences of its own.
_TRIED: Final = re.compile(r"(?<= s\)); ")
_SENTENCE: Final = re.compile(r"\. (?=[A-Z])|: (?=grant |let |look )")


def divided(line: str) -> tuple[str, str]:
    """Return what a line says is wrong, and what it says to do, empty if it does not."""
    found = _TRIED.search(line) or _SENTENCE.search(line)
    if found:
        return line[: found.start()], line[found.end() :]
    problem, there, to_do = line.rpartition("; ")
    return (problem, to_do) if there else (line, "")
