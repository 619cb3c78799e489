"""Observers: who is told of commits and of epochs' ends, such as lineage and traces."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from deltalake import DeltaTable


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit of a table, the version that it made; times are in s since 1970."""

    table: str
    version: int
    rows: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Observers:
    """What is called on a commit, by a thread that commits, and when an epoch is durable.

    The latter is told for how long its end took, in s. Neither may take long, or raise.
    """

    committed: list[Callable[[Committed], None]] = field(default_factory=list)
    settled: list[Callable[[float], None]] = field(default_factory=list)

    def tell(self, table: str, handle: DeltaTable, rows: int, began: float) -> None:
        """Tell of a commit, done just now."""
        if self.committed:
            commit = Committed(table, handle.version(), rows, began, time.time())
            for each in self.committed:
                each(commit)

    def tell_settled(self, took: float) -> None:
        """Tell that an epoch is durable."""
        for each in self.settled:
            each(took)


OBSERVERS: Final = Observers()
