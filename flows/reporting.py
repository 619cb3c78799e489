"""Reporting: what a flow says of itself, at its start, every minute, and at its end.

What it counts is what the metrics count; a line costs a look at them, and no event anything.
"""

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flows.slices import Slice
from flows.told import told
from operators import metrics
from operators.avro import CODES
from operators.columns.durations import in_words
from operators.contracts.contract import Contract

LOG: Final = logging.getLogger("millstream.flow")
_FEW: Final = 8


def begin(name: str, version: str, share: Slice) -> None:
    """Say which flow starts, as which process of how many, or as which slice."""
    how = told()
    among = f"process {how.process} of {len(how.addresses)}" if how.addresses else "one process"
    among = f"slice {share}, {among}" if share else among
    workers = "" if how.workers == 1 else f" with {how.workers} workers"
    metrics.INFO.labels(name, version, how.process).set(1)
    metrics.expect_lineage()
    LOG.info("%s: flow of Millstream %s, %s%s", name, version, among, workers)


def codes_of(contract: Contract, decoding: Sequence[str] = CODES) -> dict[str, Sequence[str]]:
    """Return, by stage, what decoding and the contract of a topic's records may refuse."""
    refused = [each.code for each in contract.checks if each.severity == "quarantine"]
    return {"decode": decoding, "contract": refused}


def expect(topic: str, contract: Contract, decoding: Sequence[str] = CODES) -> None:
    """Have counters at 0 of what decoding and the contract of a topic's records may refuse."""
    metrics.expect(
        topic,
        codes_of(contract, decoding),
        [each.code for each in contract.checks if each.severity == "warn"],
        [(each.field, each.does) for each in contract.repairs],
    )


def reads(
    topic: str,
    partitions: Sequence[int],
    positions: Mapping[int, int | None],
    *,
    start: str | datetime,
    waiting: int | None,
    whose: str = "recovery store's",
) -> None:
    """Say what is read, and where that begins.

    `positions` are the next offsets by partition as somebody has them, `whose` they are, None for
    a beginning that is not known yet; `waiting` is how many records there are to read, None if it
    is not known.
    """
    _say("reads topic %s, %s, %s%s", topic, _many(len(partitions), "partition"),
         _places(partitions, positions, start, whose),
         "" if waiting is None else f": {waiting:,} offsets to its end")  # fmt: skip


def _places(
    partitions: Sequence[int],
    positions: Mapping[int, int | None],
    start: str | datetime,
    whose: str = "recovery store's",
) -> str:
    if not positions:
        if start == "earliest":
            return "from its beginning"
        return "from its end" if start == "latest" else f"from {start} on"
    known = {p: offset for p, offset in sorted(positions.items()) if offset is not None}
    if not known:
        at = ""
    elif len(known) <= _FEW:
        at = " (" + ", ".join(f"{p}: {offset:,}" for p, offset in known.items()) + ")"
    else:
        at = f" ({min(known.values()):,} to {max(known.values()):,})"
    new = [str(p) for p in partitions if p not in positions]
    added = f"; added since, from their beginning: {', '.join(new)}" if new else ""
    return f"from the {whose} offsets on{at}{added}"


def report(
    name: str,
    every: timedelta,
    *,
    tables: str | None,
    topics: Iterable[str],
    rules: int | None = None,
) -> None:
    """Say where results go, and from now on every so often how far the flow is."""
    names = list(topics)
    where = [] if tables is None else [f"tables under {tables}"]
    if names:
        where.append(f"topic{'s' if len(names) > 1 else ''} {', '.join(names)}")
    _say("writes %s%s", " and ".join(where),
         "" if rules is None else f"; {_many(rules, 'rule')}")  # fmt: skip
    recovery = told().recovery
    if recovery is not None:
        _say("recovery store %s", recovery.absolute())
    elif told().process == 0:
        LOG.warning(
            "no recovery directory (-r): each start begins anew, not where this one ends"
        )
    Reporter(name, every.total_seconds()).start()


def say(line: str) -> None:
    """Say a line on what all processes have in common, by the first of them."""
    _say("%s", line)


def _say(text: str, *values: object) -> None:
    """Log a line on what all processes have in common, by the first of them."""
    if told().process == 0:
        LOG.info(text, *values)


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# --- while it runs -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """What a process has done so far; `commits` are of tables."""

    records: int
    rejects: int
    duplicates: int
    commits: int

    @classmethod
    def now(cls) -> "Counts":
        """Read the metrics."""
        return cls(
            _total(metrics.RECORDS, "_total"),
            _total(metrics.REJECTS, "_total"),
            _total(metrics.DUPLICATES, "_total"),
            _total(metrics.COMMIT_SECONDS, "_count"),
        )

    def since(self, before: "Counts") -> "Counts":
        """Return what came after `before`."""
        return Counts(
            self.records - before.records,
            self.rejects - before.rejects,
            self.duplicates - before.duplicates,
            self.commits - before.commits,
        )

    def __str__(self) -> str:
        rest = (("reject", self.rejects), ("duplicate", self.duplicates))
        found = [_many(number, noun) for noun, number in rest]
        return ", ".join([*found, _many(self.commits, "table commit")])


class Reporter:
    """Says every so often how far a process is, of the partitions that it reads."""

    def __init__(
        self, name: str, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`every` is in seconds."""
        process = f", process {told().process}" if told().addresses else ""
        self._name, self._every, self._clock = f"{name}{process}", every, clock
        self._began = self._last = clock()
        self._before = Counts.now()

    def start(self) -> None:
        """Begin to report, from a thread of its own, and once more when the flow has ended."""
        atexit.register(self._end)
        if self._every:
            threading.Thread(target=self._run, name="report", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._every)
            LOG.info("%s", self.line())

    def _end(self) -> None:
        counts, took = Counts.now(), self._clock() - self._began
        LOG.info("%s: ended after %s: %s read, %s", self._name, in_words(took),
                 _many(counts.records, "record"), counts)  # fmt: skip

    def line(self) -> str:
        """Return how far it is by now, and what has come since the last call."""
        counts, now = Counts.now(), self._clock()
        new, seconds = counts.since(self._before), now - self._last
        self._before, self._last = counts, now
        if new.records:
            rate = new.records / seconds if seconds > 0 else 0
            did = (
                f"{_many(new.records, 'record')} in {in_words(seconds)} ({rate:,.0f}/s), {new}"
            )
        else:
            did = f"nothing new in {in_words(seconds)}"
        parts = [did, f"{_many(counts.records, 'record')} since the start", _left()]
        return f"{self._name}: " + "; ".join([*_past(), *parts, *_watermark()])


def _left() -> str:
    """Say how many records there are to read, once every partition's end is known."""
    lags = [sample.value for sample in samples(metrics.OFFSET_LAG)]
    if any(map(math.isnan, lags)):
        return "how many there are to read is not known yet"
    return f"{int(sum(lags)):,} to read"


def _past() -> list[str]:
    """Say how much of the state that tables bring is there, while some is missing."""
    told, left = _total(metrics.HISTORY_ROWS, "_total"), _total(metrics.HISTORY_LEFT, "")
    if not left:
        return []
    part = f"{100 * told // (told + left)} %"
    return [f"state is made of the tables' rows, {told:,} of {told + left:,} ({part})"]


def _watermark() -> list[str]:
    """Say which partition's watermark is the furthest behind."""
    lags = [
        (sample.value, f"{sample.labels['topic']}/{sample.labels['partition']}")
        for sample in samples(metrics.WATERMARK_LAG)
        # 0 is no watermark yet.
        if sample.value
    ]
    if not lags:
        return []
    lag, where = max(lags)
    mark = datetime.now(UTC) - timedelta(seconds=lag)
    ahead = "ahead of" if lag < 0 else "behind"
    return [f"watermark {mark:%Y-%m-%d %H:%M} UTC, {in_words(abs(lag))} {ahead} the clock "
            f"({where})"]  # fmt: skip


def samples(metric: Any, suffix: str = "") -> list[Any]:
    """Return what a metric shows, of its name with a suffix such as _total."""
    (family,) = metric.collect()
    return [each for each in family.samples if each.name == family.name + suffix]


def _total(metric: Any, suffix: str) -> int:
    return int(sum(sample.value for sample in samples(metric, suffix)))
