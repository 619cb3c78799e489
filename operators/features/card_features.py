"""Features: what each payment looks like against its card's own past."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from operators.columns.arrays import Floats, Int64s
from operators.columns.grouping import Sorted
from operators.columns.hashing import hash_strings
from operators.columns.times import in_micros
from operators.event_time.watermarks import PartitionWatermark
from operators.features.cards import Cards
from operators.records.batches import NO_WATERMARK
from operators.state.shards import Composite, Rows, Sharded
from operators.state.sliding_history import SlidingHistory

MINUTE: Final = 60_000_000
HORIZONS: Final = {"10m": 10 * MINUTE, "1h": 60 * MINUTE, "24h": 1440 * MINUTE}
"""The sliding features' horizons by suffix, in µs."""

FORGET: Final = 90 * 1440 * MINUTE
"""A card whose newest payment is this much event time behind, in µs, may be forgotten."""

EARTH_RADIUS_M: Final = 6_371_008.8
"""The mean radius R1 of the WGS 84 ellipsoid, in metres."""

SCHEMA: Final[dict[str, pl.DataType]] = {
    **{f"card_count_{suffix}": pl.Int64() for suffix in HORIZONS},
    **{f"card_amount_minor_{suffix}": pl.Int64() for suffix in HORIZONS},
    "card_payments_before": pl.Int64(),
    "card_amount_minor_mean": pl.Float64(),
    "card_moved_m": pl.Int64(),
    "card_speed_kmh": pl.Int64(),
}
"""The columns that `CardFeatures` adds.

`card_count_*` and `card_amount_minor_*` cover the card's payments in the time up to this
one, this one included; `card_payments_before` counts all earlier ones and
`card_amount_minor_mean` is their mean, null if there is none. `card_moved_m` is the distance
in metres to where the card was used before (null if either place is unknown), and
`card_speed_kmh` the speed in km/h that this takes, from one second up.
"""


def haversine_m(
    latitude_1: Floats, longitude_1: Floats, latitude_2: Floats, longitude_2: Floats
) -> Floats:
    """Return great-circle distances in metres between points in degrees (haversine formula).

    R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68 (1984).
    """
    one, two = np.radians(latitude_1), np.radians(latitude_2)
    half = np.sin((two - one) / 2) ** 2
    turn = np.sin(np.radians(longitude_2 - longitude_1) / 2) ** 2
    metres: Floats = (
        2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(half + np.cos(one) * np.cos(two) * turn))
    )
    return metres


class CardFeatures(Composite):
    """The watermark and the cards' past of one source partition.

    State is kept per source partition, whose order is fixed, so that features depend neither
    on how partitions interleave nor on batch boundaries; a topic keyed by card has each card
    in one partition. Cards are known by the 64-bit hash of their id.
    """

    VERSION: ClassVar = 2

    def __init__(self, out_of_orderness: int) -> None:
        """`out_of_orderness` is the watermark's bound in µs."""
        self.watermark = PartitionWatermark(out_of_orderness)
        self.history = SlidingHistory(list(HORIZONS.values()))
        self._cards = Cards()

    @property
    def rows(self) -> int:
        """How many cards and events are kept."""
        return self._cards.size + len(self.history)

    @property
    def members(self) -> Mapping[str, Sharded]:
        """What has rows."""
        return {"cards": self._cards, "history": self.history}

    def advance(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows, in offset order, with `watermark` and the columns of `SCHEMA`.

        `watermark` is the partition's before the row, null before the first event. Needs
        event_time, card_id, amount_minor, latitude and longitude.
        """
        if frame.height == 0:
            return frame.with_columns(
                pl.lit(None, pl.Datetime("us", "UTC")).alias("watermark"),
                *(pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items()),
            )
        times = in_micros(frame["event_time"])
        watermarks = self.watermark.advance(times)
        rows = Sorted.by(hash_strings(frame["card_id"]))
        order = rows.order
        ordered_times, ordered_marks = times[order], watermarks[order]
        amounts = frame["amount_minor"].to_numpy()[order]
        sliding = self.history.advance(
            rows, ordered_times, amounts, ordered_marks, self.watermark.current
        )
        columns: dict[str, npt.NDArray[Any]] = {}
        for suffix, (count, total) in zip(HORIZONS, sliding, strict=True):
            columns[f"card_count_{suffix}"] = count + 1
            columns[f"card_amount_minor_{suffix}"] = total + amounts
        places = [frame[name].to_numpy()[order] for name in ("latitude", "longitude")]
        columns.update(self._past(rows, ordered_times, amounts, ordered_marks, *places))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        # hstack, as with_columns would hand the columns to another thread and wait for it.
        return frame.hstack(
            [
                _nullable("watermark", watermarks, watermarks == NO_WATERMARK).cast(
                    pl.Datetime("us", "UTC")
                ),
                *(_feature(name, columns[name][back]) for name in SCHEMA),
            ]
        )

    def _past(
        self, rows: Sorted, times: Int64s, amounts: Int64s, marks: Int64s,
        latitude: Floats, longitude: Floats,
    ) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
        """Return the features over a card's whole past, in sorted order; take the events."""
        # A card is forgotten in whole periods of the watermark, judged at its next payment:
        # a function of the data, whenever the memory is given back.
        # The partition's first payment has no watermark before it and counts by its own.
        marks = np.where(marks == NO_WATERMARK, times - self.watermark.bound, marks)
        periods = marks // FORGET
        slots = self._cards.find(rows.keys)
        old = {name: column[slots] for name, column in self._cards.columns.items()}
        here = np.arange(len(times))
        start = rows.starts[rows.runs]
        breaks = np.zeros(len(times), bool)
        breaks[1:] = periods[1:] - periods[:-1] > 1
        breaks[rows.starts] = periods[rows.starts] - old["period"] > 1
        breaks[rows.starts] |= old["count"] == 0
        # The newest break at or before each row, if in its own run, is where its past begins.
        since = np.maximum.accumulate(np.where(breaks, here, -1))
        carried = since < start
        begin = np.where(carried, start, since)
        sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(amounts)))
        count = here - begin + np.where(carried, old["count"][rows.runs], 0)
        total = sums[here] - sums[begin] + np.where(carried, old["amount"][rows.runs], 0)

        placed = ~(np.isnan(latitude) | np.isnan(longitude))
        last = np.maximum.accumulate(np.where(placed, here, -1))
        before = np.concatenate((np.full(1, -1), last[:-1]))
        inside = before >= begin
        use_old = ~inside & carried
        row = np.where(inside, before, 0)

        def previous(values: npt.NDArray[Any], name: str) -> Floats:
            stored = np.where(use_old, old[name][rows.runs], np.nan)
            return np.where(inside, values[row], stored)

        was_latitude = previous(latitude, "latitude")
        was_time = np.where(inside, times[row], old["time"][rows.runs])
        moved = haversine_m(was_latitude, previous(longitude, "longitude"), latitude, longitude)
        metres = np.where(np.isnan(moved), -1, np.rint(np.nan_to_num(moved))).astype(np.int64)
        seconds = np.maximum(np.abs(times - was_time) // 1_000_000, 1)
        speed = np.where(metres < 0, -1, metres * 18 // (5 * seconds))

        ends = np.append(rows.starts[1:], len(times)) - 1
        place = np.where((last >= begin), last, -1)[ends]
        kept = (place < 0) & carried[ends]
        store = self._cards.columns
        store["count"][slots] = count[ends] + 1
        store["amount"][slots] = total[ends] + amounts[ends]
        store["period"][slots] = periods[ends]
        store["changed"][slots] = True
        for name, values in (("latitude", latitude), ("longitude", longitude), ("time", times)):
            empty = np.nan if values.dtype == np.float64 else 0
            store[name][slots] = np.where(
                place >= 0, values[place], np.where(kept, old[name], empty)
            )
        self._cards.forget_before(int(periods.max()) - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count > 0, total / count, np.nan)
        return {
            "card_payments_before": count, "card_amount_minor_mean": mean,
            "card_moved_m": metres, "card_speed_kmh": speed,
        }  # fmt: skip

    def head(self) -> dict[str, Any]:
        """Return what is no row, as builtins."""
        return super().head() | {"largest": self.watermark.largest}

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before."""
        super().load(head, found)
        self.watermark.largest = head["largest"]


def _feature(name: str, values: npt.NDArray[Any]) -> pl.Series:
    """Return a column in which NaN, or -1 where counts and distances are 0 and up, is null."""
    unknown = np.isnan(values) if values.dtype == np.float64 else values < 0
    return _nullable(name, values, unknown)


def _nullable(name: str, values: npt.NDArray[Any], unknown: npt.NDArray[np.bool_]) -> pl.Series:
    if not unknown.any():
        return pl.Series(name, values)
    # A copy in Arrow's own memory: Arrow takes the interpreter's lock to free NumPy's, and a column
    # may end in a thread of Polars for which the lock's holder waits.
    return pl.Series(name, pc.if_else(unknown, None, pa.array(values)))
