"""Values of a field as its type and the contract's checks have them, and such as they forbid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.contracts.files import Stated
from ops.simulate.patterns import matching
from ops.simulate.troubles import SECOND_US

KINDS: Final = (
    "string", "enum", "boolean", "int", "long", "float", "double", "bytes", "timestamp-micros"
)  # fmt: skip
"""Of which fields events are made."""

_NULLS: Final = 0.1
_WHOLE: Final = {"int": 2**31 - 1, "long": 2**63 - 1}
_USUAL: Final = (0, 1_000)
# As far as a fraction still tells whole numbers apart.
_EXACT: Final = 2**53


@dataclass(frozen=True)
class Field:
    """A field of a record, with the checks that its contract has of it.

    `kind` is the Avro type, the logical one where there is one, and `symbols` are those of an
    enum.
    """

    name: str
    kind: str
    nullable: bool
    dtype: pl.DataType
    symbols: tuple[str, ...]
    checks: tuple[Stated, ...]

    def draw(
        self, among: Sequence[Any], event_time: pl.Series, rng: np.random.Generator
    ) -> pl.Series:
        """Draw a value for each event, as the checks allow it as far as is known beforehand.

        `among` are those to choose from, the first the most often, where there are any.
        """
        n = len(event_time)
        values = self._drawn(among, event_time, rng).alias(self.name).cast(self.dtype)
        if self.nullable:
            values = values.zip_with(pl.Series(rng.random(n) >= _NULLS), values.clear(n))
        return values

    def _drawn(
        self, among: Sequence[Any], event_time: pl.Series, rng: np.random.Generator
    ) -> pl.Series:
        n = len(event_time)
        if among:
            return pl.Series(among).gather(skewed(len(among), n, rng))
        if self.kind == "boolean":
            return pl.Series(rng.random(n) < 0.2)
        if self.kind in _WHOLE or self.kind in ("float", "double"):
            return pl.Series(self._numbers(n, rng))
        if self.kind == "bytes":
            return pl.Series([rng.bytes(8) for _ in range(n)])
        ago = pl.Series(rng.integers(0, 3_600 * SECOND_US, n))
        begin, end = map(_micros, self._stated("time") or (date(1970, 1, 1), date(2262, 1, 1)))
        drawn = (event_time.to_physical() - ago).clip(begin, end)
        return drawn.cast(pl.Datetime("us", "UTC"))

    def _stated(self, what: str) -> Any:
        return next((s for each in self.checks if (s := getattr(each, what))), None)

    def among(self, different: int, rng: np.random.Generator) -> Sequence[Any]:
        """Return what values are chosen among: up to `different` texts, none of numbers and times.

        Raises ValueError for a pattern that texts cannot be made for.
        """
        if among := self._stated("one_of"):
            return list(among)
        if self.symbols:
            return self.symbols
        if self.kind != "string":
            return ()
        if pattern := self._stated("pattern"):
            return matching(pattern, different, rng)
        stem = self.name.removesuffix("_id")
        return [self.fitted(f"{stem}-{number:06d}") for number in range(different)]

    def fitted(self, text: str) -> str:
        """Return a text of ASCII, its beginning cut or its end drawn out, of the length allowed."""
        least, most = self._stated("bytes") or (0, len(text))
        return text[-most:].ljust(least, "-") if most else ""

    def _numbers(self, n: int, rng: np.random.Generator) -> Any:
        """Draw numbers, small ones more often unless some are negative, and the limits at times."""
        low, high = self._stated("range") or _USUAL
        if self.kind in _WHOLE:
            most = _WHOLE[self.kind]
            low, high = max(math.ceil(low), -most), min(math.floor(high), most)
        luck, limits = rng.random(n), rng.random(n)
        span = float(min(high - low, _EXACT))
        above = span * luck if low < 0 else np.expm1(luck**3 * np.log1p(span))
        drawn = low + (np.floor(above).astype(np.int64) if self.kind in _WHOLE else above)
        return np.where(limits < 0.01, low, np.where(limits > 0.99, high, drawn))

    def breaking(self, check: Stated) -> Sequence[object]:
        """Return values of the field's type that may break one of its checks; times in µs."""
        if self.symbols:
            return self.symbols
        if check.bytes is not None:
            least, most = check.bytes
            return ["x" * (least - 1)] * (least > 0) + ["x" * (most + 1)]
        if check.time is not None:
            begin, end = check.time
            before = [] if begin is None else [_micros(begin) - SECOND_US]
            return before + ([] if end is None else [_micros(end) + 86_400 * SECOND_US])
        if check.range is not None:
            beyond = [math.floor(check.range[0]) - 1, math.ceil(check.range[1]) + 1]
            largest = _WHOLE.get(self.kind)
            return [each for each in beyond if largest is None or abs(each) <= largest]
        if self.kind == "string":
            return ["?", "", "é"]
        return [max(check.one_of) + 1] if check.one_of and self.kind != "boolean" else []


def skewed(different: int, n: int, rng: np.random.Generator) -> Int64s:
    """Draw n numbers below `different`; k comes about 1 / (k + 1) times as often as 0."""
    drawn: Int64s = np.expm1(rng.random(n) * np.log(different + 1)).astype(np.int64)
    return np.minimum(drawn, different - 1)


def _micros(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND_US
