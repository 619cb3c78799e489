"""Dead letters: how many are open, told from beside the flow, as the tables have it.

What becomes of a reject is no matter of the flow's: people send it again or put it aside, and
retention deletes it. So a thread looks now and then whether the log of a table of that has
anything new, and only then counts, for a fiftieth of the time at the most. It holds nothing up and
ends nothing: where storage does not answer, what was known stays.
"""

import atexit
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flows.flow_settings import FlowSettings
from flows.reporting import codes_of
from flows.streams import Stream
from flows.told import told
from operators import metrics
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.delta.open_letters import OpenLetters
from operators.contracts import load_contract
from operators.records.tables import Table

LOG: Final = logging.getLogger("millstream.flow")

EVERY: Final = 30.0
"""Seconds from one look to the next, unless counting takes longer than a fiftieth of that."""

_SHARE: Final = 50
_END_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Refused:
    """A stream's quarantine, and the codes that it may have rejects of, by stage."""

    stream: str
    quarantine: Table
    codes: Mapping[str, Sequence[str]]


def watch(settings: FlowSettings, refused: Sequence[Refused]) -> None:
    """Tell from now on how many dead letters are open.

    Tables are those of all processes and slices: the first tells it for all.
    """
    if told().process == 0 and settings.share.number == 0:
        Watch(settings.delta_root, refused).start()


def watch_streams(settings: FlowSettings, streams: Sequence[Stream]) -> None:
    """Tell it from now on of declared streams."""
    watch(
        settings,
        [
            Refused(each.name, each.quarantine, codes_of(load_contract(each.record)))
            for each in streams
        ],
    )


class Watch:
    """Counts the open dead letters of some streams from a thread of its own."""

    def __init__(self, root: str, refused: Sequence[Refused]) -> None:
        self._letters = [OpenLetters(root, each.stream, each.quarantine) for each in refused]
        self._shown = {each.stream: set[str]() for each in refused}
        self._away: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dead-letters", daemon=True)
        for each in refused:
            for code in (code for some in each.codes.values() for code in some):
                self._show(each.stream, code, math.nan)

    def start(self) -> None:
        """Begin to look; it stops when the process ends."""
        # Not in the middle of a query: the interpreter's end would abort the process there.
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that is under way is waited for, but not for long."""
        self._over.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        wait = 0.0
        while not self._over.wait(wait):
            wait = max(EVERY, _SHARE * sum(map(self._look, self._letters)))

    def _look(self, letters: OpenLetters) -> float:
        """Count anew if there is anything new; return how many s counting took."""
        began = time.perf_counter()
        try:
            if self._over.is_set() or not letters.changed():
                return 0.0
            began = time.perf_counter()
            counts = letters.count()
        except StorageUnavailableError as error:
            if letters.stream not in self._away:
                LOG.warning(
                    "%s: how many dead letters are open cannot be told: %s",
                    letters.stream,
                    error,
                )
            self._away.add(letters.stream)
            return time.perf_counter() - began
        self._away.discard(letters.stream)
        for code in self._shown[letters.stream] | counts.keys():
            self._show(letters.stream, code, counts.get(code, 0))
        return time.perf_counter() - began

    def _show(self, stream: str, code: str, count: float) -> None:
        self._shown[stream].add(code)
        metrics.LETTERS_OPEN.labels(stream, code).set(count)
