"""Pauses: which changes of rules are those by which a live rule has paused itself."""

from typing import Final

from operators.control.changes import Change
from operators.rules.rule import Rule

AUTHOR: Final = "millstream, process "
"""What the author of such a change is called, before the process' number."""

LEFT: Final = "left its bounds: "
"""What its reason begins with."""


def is_own(change: Change) -> bool:
    """Tell whether by a change a rule has paused itself."""
    paused = isinstance(change.content, Rule) and change.content.status == "paused"
    return paused and change.who.startswith(AUTHOR) and change.why.startswith(LEFT)


class Pauses:
    """Tells such changes from others, in the order of their topic.

    Of several processes each may send the pause of a rule, as each counts for itself. The first of
    them in a row is the pause, and those behind it say nothing new.
    """

    def __init__(self) -> None:
        self._newest: dict[str, Change] = {}

    def add(self, change: Change) -> bool:
        """Take the next change; tell whether it is one by which a rule has paused itself."""
        if change.kind != "rule":
            return False
        before = self._newest.get(change.name)
        self._newest[change.name] = change
        again = before is not None and is_own(before) and before.content == change.content
        return is_own(change) and not again
