"""Places: where a topic's partitions begin and end in a run, asked for when first needed."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from operators.connectors.kafka import client as kafka
from operators.connectors.kafka.bounded import NEVER

_START_SECONDS: Final = 30.0

_Offsets = dict[int, int]


class Places:
    """Asks once for all partitions; workers of a process, which are threads, share it.

    Its methods raise KafkaUnavailableError or KafkaException if the brokers do not say.
    """

    def __init__(
        self,
        config: kafka.Config,
        topic: str,
        partitions: Sequence[int],
        group: str,
        start: str | datetime,
        *,
        bounded: bool,
    ) -> None:
        """`start` is "earliest", "latest" or a time; a `bounded` run ends where there is an end."""
        self._asked = config, topic, partitions
        self._group, self._start, self._bounded = group, start, bounded
        self._begins: _Offsets | None = None
        self._ends: _Offsets | None = None
        self._lock = threading.Lock()

    def begin(self, partition: int) -> int | None:
        """Return where a partition without an offset starts, None for its beginning."""
        if self._start == "earliest":
            return None
        with self._lock:
            self._begins = self._begins or self._find_begins()
            return self._begins[partition]

    def bound(self, partition: int) -> int:
        """Return the offset at which the run ends a partition, NEVER if it does not."""
        if not self._bounded:
            return NEVER
        with self._lock:
            self._ends = self._ends or self._find_ends()
            return self._ends[partition]

    def _find_begins(self) -> _Offsets:
        if isinstance(self._start, datetime):
            return kafka.offsets_at(*self._asked, self._start, _START_SECONDS, self._group)
        return self._find_ends()

    def _find_ends(self) -> _Offsets:
        return kafka.end_offsets(*self._asked, _START_SECONDS, self._group)
