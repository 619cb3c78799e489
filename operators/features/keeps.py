"""What the rows of a features' state hold, so that no feature is made of what is not there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from operators.errors import KnownError
from operators.state.shards import Rows

VERSION: Final = 3
"""The state's version; rows of version 2 had one form, and no name of what they hold."""


class StateLacksFeaturesError(KnownError):
    """A state was made without what some of today's features need; they are its `features`."""

    def __init__(self, features: Sequence[str]) -> None:
        super().__init__(
            f"the recovery store knows nothing of {', '.join(features)}, which were added or "
            "changed since: delete the recovery directory, and the flow reads the topic from the "
            "start and adds to each table only what it lacks"
        )
        self.features = tuple(features)


def history_of(by: Sequence[str], level: int = 0) -> str:
    """Return the name of what is kept of the events of keys for the features of a level."""
    return f"events by {', '.join(by)}{_at(level)}"


def totals_of(by: Sequence[str], level: int = 0) -> str:
    """Return the name of what is kept of keys for the features of a level."""
    return f"totals by {', '.join(by)}{_at(level)}"


def _at(level: int) -> str:
    return f" at level {level}" if level else ""


@dataclass(frozen=True)
class Former:
    """What a state of version 2 held: its members with their columns, by today's names.

    `members` maps today's name to the former one and, by today's name, the former names of its
    columns; `holds` is as in `Keeps`.
    """

    members: Mapping[str, tuple[str, Mapping[str, str]]]
    holds: Mapping[str, int]

    def head(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return the head as one of today."""
        members = {name: head[former] for name, (former, _) in self.members.items()}
        return {**head, **members, "holds": dict(self.holds)}

    def rows(self, rows: Rows) -> Rows:
        """Return rows as today's."""
        made = {}
        for name, (former, columns) in self.members.items():
            there = rows.rows[former]
            made[name] = {today: there[was] for today, was in columns.items()}
        return replace(rows, rows=made)


@dataclass(frozen=True)
class Keeps:
    """Which features a state is of, and what of events and keys each of them needs.

    `definitions` are told by the features' names. `needs` names, for each of them, columns of
    members and how long in µs their events are kept, 0 for what is kept of keys.
    """

    definitions: Mapping[str, str]
    needs: Mapping[str, Mapping[str, int]]
    former: Former | None = field(default=None)

    def head(self) -> dict[str, Any]:
        """Return what a head says of it."""
        holds: dict[str, int] = {}
        longest: dict[str, int] = {}
        for needs in self.needs.values():
            for column, kept in needs.items():
                member = column.partition(": ")[0]
                longest[member] = max(kept, longest.get(member, 0))
                holds[column] = 0
        # Events are kept with all their columns.
        holds = {column: longest[column.partition(": ")[0]] for column in holds}
        return {"features": dict(self.definitions), "holds": holds}

    def lacking(self, head: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the features that a state with this head has not what they need of."""
        holds = self._today(head)["holds"]
        return tuple(
            name
            for name, needs in self.needs.items()
            if any(holds.get(column, -1) < kept for column, kept in needs.items())
        )

    def _today(self, head: Mapping[str, Any]) -> Mapping[str, Any]:
        if head["version"] == VERSION:
            return head
        return self.former.head(head) if self.former else {**head, "holds": {}}

    def read(
        self, head: Mapping[str, Any], found: Sequence[Rows]
    ) -> tuple[Mapping[str, Any], list[Rows]]:
        """Return a head and rows as today's; raises StateLacksFeaturesError."""
        lacking = self.lacking(head)
        if lacking:
            raise StateLacksFeaturesError(lacking)
        rows = [
            self.former.rows(each) if self.former and each.version < VERSION else each
            for each in found
        ]
        return self._today(head), rows
