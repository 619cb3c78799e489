"""Sorted runs: rows that come in batches, kept in a few runs that are each in order."""

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Generic, TypeVar

R = TypeVar("R", bound=Sized)


class SortedRuns(Generic[R]):
    """Runs that are merged as they fill, as a log-structured merge tree's levels.

    A new run is merged with the last ones, as long as one of them has fewer than `least` rows, or
    fewer than `ratio` times the rows of all behind it. So the runs are few (the logarithm of
    all rows), and a row is moved a few times in its life, however many there are. A larger ratio
    makes fewer runs to look into, and moves rows more often. With runs of 10 rows, a ratio of 4
    and none at least, their sizes are

        10  →  20  →  30  →  40  →  40 10  →  60  →  60 10  →  80  →  80 10  →  80 20  →  …
    """

    def __init__(
        self, merge: Callable[[Sequence[R]], R], *, ratio: float = 4, least: int = 0
    ) -> None:
        """`merge` makes one sorted run of several, the oldest first; it may drop rows."""
        self._merge, self._ratio, self._least = merge, ratio, least
        self._runs: list[R] = []

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(map(len, self._runs))

    def __iter__(self) -> Iterator[R]:
        """Give the runs, the oldest first."""
        return iter(self._runs)

    def add(self, run: R) -> None:
        """Take a run of new rows."""
        at, behind = len(self._runs), len(run)
        while at and len(self._runs[at - 1]) < max(self._least, self._ratio * behind):
            at -= 1
            behind += len(self._runs[at])
        if at < len(self._runs):
            run = self._merge([*self._runs[at:], run])
        self.replace([*self._runs[:at], run])

    def replace(self, runs: Sequence[R]) -> None:
        """Put others in the place of the runs, such as what is left of them."""
        self._runs = [run for run in runs if len(run)]
