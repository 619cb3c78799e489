"""A circuit breaker: what fails or is slow is left alone for a while, then tried again."""

import time
from collections.abc import Callable
from typing import Final

_FAILURES: Final = 3
_SHORTEST, _LONGEST = 1.0, 60.0


class Breaker:
    """Opens after some failures in a row and closes again with the first success.

    While it is open nothing is tried for a second, then for twice as long each time that a try
    fails, up to a minute. Only the clock can tell; so what was decided is to be recorded.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns s."""
        self._clock = clock
        self._failures = 0
        self._wait = _SHORTEST
        self._until: float | None = None

    @property
    def open(self) -> bool:
        """Whether it is open, be it that a try is due."""
        return self._until is not None

    def allows(self) -> bool:
        """Tell whether to try now."""
        return self._until is None or self._clock() >= self._until

    def succeeded(self) -> None:
        """Take note of a success: it is closed."""
        self._failures, self._wait, self._until = 0, _SHORTEST, None

    def failed(self) -> None:
        """Take note of a failure."""
        self._failures += 1
        if self._until is not None:
            self._wait = min(2 * self._wait, _LONGEST)
        elif self._failures < _FAILURES:
            return
        self._until = self._clock() + self._wait
