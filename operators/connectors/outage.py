"""Outages: what is away is waited for, and said when it goes, each minute, and when it is back."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from operators import metrics
from operators.connectors.pulse import PULSE
from operators.connectors.shutdown import SHUTDOWN, Shutdown

PATIENCE: Final = 120.0
"""How long, in seconds, a flow at work waits for what is away before it ends."""

_SAY_EVERY: Final = 60.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
# What looks whether the flow was told to end does so this often.
_LOOK_EVERY: Final = 0.2

_Result = TypeVar("_Result")


class Outage:
    """What a log says of a server: one line when it goes, one a minute, one when it is back.

    Threads may share one. Its retries are counted as those of a `service`. `error` is what its
    users raise when they give up, with `advice`, which names the settings to look at.
    """

    def __init__(
        self,
        what: str,
        log: logging.Logger,
        error: type[RuntimeError],
        advice: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        service: str,
    ) -> None:
        self.what, self.error, self.advice, self.clock = what, error, advice, clock
        self._retries = metrics.RETRIES.labels(service)
        self._log = log
        self._lock = threading.Lock()
        self._since: float | None = None
        self._said = 0.0
        self._reason = ""

    @property
    def seconds(self) -> float:
        """How long it has been away, 0 while it is there."""
        since = self._since
        return 0.0 if since is None else self.clock() - since

    def failed(self, reason: str) -> None:
        """Note that it did not answer; `reason` is what the line says, without secrets."""
        # Those who wait give up by themselves.
        PULSE.got_on()
        self._retries.inc()
        with self._lock:
            now = self.clock()
            self._reason = reason
            if self._since is None:
                self._since = self._said = now
                self._log.warning("waiting for %s: %s", self.what, reason)
            elif now - self._said >= _SAY_EVERY:
                self._said = now
                away = now - self._since
                self._log.warning("waiting for %s for %.0f s: %s", self.what, away, reason)

    def ended(self) -> None:
        """Note that it answers; nothing is said of one that was never away."""
        with self._lock:
            if self._since is None:
                return
            away, self._since = self.clock() - self._since, None
            self._log.warning("%s is back after %.0f s", self.what, away)

    def given_up(
        self, seconds: float, reason: str = "", shutdown: Shutdown = SHUTDOWN
    ) -> RuntimeError:
        """Return the error of those who waited in vain: one line that says what to do."""
        reason = reason or self._reason
        text = f"{self.what}: {reason} (tried for {seconds:.0f} s); {self.advice}"
        if shutdown.requested:
            text = (
                f"{self.what}: {reason}; told to end before the epoch was committed: the next "
                "start reads it again, nothing is lost"
            )
        return self.error(text)


def wait_for(
    call: Callable[[], _Result],
    away: tuple[type[Exception], ...],
    outage: Outage,
    *,
    patience: float = PATIENCE,
    describe: Callable[[Exception], str] = str,
    shutdown: Shutdown = SHUTDOWN,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Return what `call` returns, calling it again with backoff while it raises one of `away`.

    `call` should take 3 s at the most: once the flow has been told to end, waits end within
    seconds. `describe` makes of an error what the log says. Raises the outage's error after
    `patience` seconds, or when there is no more time; other errors of `call` pass through.
    """
    began, pause = outage.clock(), _FIRST_PAUSE
    while True:
        try:
            result = call()
        except away as error:
            reason = describe(error)
            outage.failed(reason)
            waited = outage.clock() - began
            if waited + pause > patience or shutdown.left <= 0:
                raise outage.given_up(waited, reason, shutdown) from error
        else:
            outage.ended()
            return result
        end = outage.clock() + pause
        while (left := end - outage.clock()) > 0 and not shutdown.requested:
            sleep(min(left, _LOOK_EVERY))
        if shutdown.requested:
            sleep(_LOOK_EVERY)
        pause = min(pause * 2, _LONGEST_PAUSE)
