"""Progress of long work: on a terminal as a bar, elsewhere as a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from operators.columns.durations import in_words


@contextmanager
def bar(
    what: str, total: int, quiet: bool, every: float | None = None
) -> Iterator[Callable[[int], None]]:
    """Give what shows how many are done, on a terminal; elsewhere, or if `quiet`, nothing.

    Given `every`, elsewhere a line says it once in so many seconds, with how long it still takes.
    """
    if not quiet and every is not None and not sys.stderr.isatty():
        yield Lines(what, total, every).show
        return
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    # Behind what most runs do not need.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)


class Lines:
    """Progress as lines to standard error, once in `every` seconds."""

    def __init__(
        self,
        what: str,
        total: int,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._every, self._clock = what, total, every, clock
        self._begun: tuple[float, int] | None = None
        self._next = clock() + every

    def show(self, done: int) -> None:
        """Take note of how many are done, and say it when it is time to."""
        now = self._clock()
        if done and self._begun is None:
            # What it takes until the first are done says nothing of the others.
            self._begun = now, done
        if now < self._next or done >= self._total:
            return
        self._next = now + self._every
        print(f"{self._what}: {self._line(now, done)}", file=sys.stderr, flush=True)

    def _line(self, now: float, done: int) -> str:
        line = f"{done:,} of {self._total:,} ({100 * done / self._total:.0f} %)"
        since, before = self._begun or (now, done)
        if done <= before:
            return line
        left = (self._total - done) * (now - since) / (done - before)
        return f"{line}, about {in_words(left)} left"
