"""A loop over the records of a protocol's program, which says what must come of them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from operators.records.batches import NO_WATERMARK

SECOND = 1_000_000
MINUTE, BOUND = 60 * SECOND, 20 * SECOND

Record = tuple[int, int, int, int] | None
"""Seconds of event time, card, terminal, amount; None is refused before it gets so far."""

PAST = (
    "card_count_10m", "card_amount_minor_10m", "card_payments_before", "card_amount_minor_mean",
)  # fmt: skip


def past(partition: int, records: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    """Yield what silver has of each record: coordinates, watermark before it, and PAST."""
    for offset, record in enumerate(records):
        if record is None:
            continue
        seconds, card, _, amount = record
        before = [each for each in records[:offset] if each is not None]
        mine = [(s, a) for s, c, _, a in before if c == card]
        # No stream spans ten minutes; what arrived with a later time does not count.
        recent = [a for s, a in mine if s <= seconds] + [amount]
        mark = max((s for s, *_ in before), default=None)
        yield (
            partition, offset,
            None if mark is None else datetime.fromtimestamp(mark - BOUND // SECOND, UTC),
            len(recent), sum(recent), len(mine),
            sum(a for _, a in mine) / len(mine) if mine else None,
        )  # fmt: skip


def model(
    streams: Sequence[Sequence[Record]], told: Counter[tuple[int, int]], lateness: int
) -> tuple[set[tuple[int, int]], dict[Any, Any]]:
    """Return who is late, and the windows of all who were not told to be."""
    late, windows = set(), defaultdict(list)
    for partition, records in enumerate(streams):
        largest = NO_WATERMARK
        for offset, record in enumerate(records):
            if record is None:
                continue
            seconds, card, terminal, amount = record
            time = seconds * SECOND
            start = time - time % MINUTE
            if largest != NO_WATERMARK and start + MINUTE + lateness <= largest - BOUND:
                late.add((partition, offset))
            largest = max(largest, time)
            if (partition, offset) not in told:
                windows[f"t{terminal}", start / SECOND].append((amount, card))
    return late, {
        key: (len(v), sum(a for a, _ in v), max(a for a, _ in v), len({c for _, c in v}))
        for key, v in windows.items()
    }
