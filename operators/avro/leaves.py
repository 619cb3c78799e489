"""Leaves: values of one type in an Arrow array, from how they lie to what they mean."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from operators.avro.kinds import logical_of
from operators.avro.wire import SchemaError, Wire
from operators.columns.arrays import Bools, Int64s

_WIDE: Final = 16
_US_OF_MS: Final = 1_000
_MOST_MS: Final = (2**63 - 1) // _US_OF_MS


def same_logical(written: Wire, read: Wire, name: str) -> None:
    """Raise SchemaError for numbers that do not mean the same."""
    if written.logical and read.logical and written.logical != read.logical:
        raise SchemaError(f"field {name}: written as {written.logical}, read as {read.logical}")
    if written.digits and read.digits and written.digits != read.digits:
        was, now = (f"decimal({p}, {s})" for p, s in (written.digits, read.digits))
        raise SchemaError(f"field {name}: written as {was}, read as {now}")


def symbols_of(written: Wire, read: Wire, name: str, lacks: list[str]) -> pl.Series | None:
    """Return the writer's symbols as the reader has them, None for what is no enum."""
    if read.kind != "enum":
        return None
    known, other = set(read.symbols), read.default
    if other is None and (gone := [s for s in written.symbols if s not in known]):
        lacks.append(
            f"field {name}: written as {', '.join(gone)}, of which the reader knows "
            "nothing, and it has no default symbol"
        )
    found = [symbol if symbol in known else other for symbol in written.symbols]
    return pl.Series(found, dtype=pl.String)


def values_of(array: Any, wire: Wire, symbols: pl.Series | None, dtype: pl.DataType) -> Any:
    """Return an array's values as a column's of `dtype`; what none is becomes null.

    `wire` is the reader's type; `symbols` are the writer's, as the reader has them.
    """
    logical = logical_of(wire)
    if wire.digits is not None:
        return _decimals(array, *wire.digits)
    if logical == "duration":
        return _durations(array)
    values = pl.Series(array)
    if logical == "uuid":
        text = values.bin.encode("hex").str
        cuts = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
        values = pl.select(pl.concat_str([text.slice(*cut) for cut in cuts], separator="-"))[
            :, 0
        ]
    elif logical in ("timestamp-millis", "local-timestamp-millis", "time-millis"):
        if logical != "time-millis":
            values = values.set(~values.is_between(-_MOST_MS, _MOST_MS), None)
        values = (values * _US_OF_MS).cast(dtype)
    elif symbols is not None:
        values = symbols.gather(values)
    elif dtype == pl.String() and values.dtype == pl.Binary():
        values = _texts(values)
    elif values.dtype != dtype:
        values = values.cast(dtype, strict=False)
    return values.to_arrow(compat_level=pl.CompatLevel.oldest())


def present(array: Any) -> Bools:
    """Return which of an array's values are not null."""
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))


def _texts(values: pl.Series) -> pl.Series:
    """Return bytes as texts; what is no UTF-8 becomes null, where a cast would fail as a whole."""
    try:
        return values.cast(pl.String())
    except pl.exceptions.ComputeError:
        return pl.Series([_text(each) for each in values.to_list()], dtype=pl.String())


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _laid(array: Any) -> tuple[npt.NDArray[np.uint8], Int64s]:
    """Return a binary array's bytes, and where each value begins, and the last one ends."""
    _, offsets, data = array.buffers()
    if not len(array):
        return np.zeros(1, np.uint8), np.zeros(1, np.int64)
    width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    cuts = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1]
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return bytes_, cuts.astype(np.int64)


def _decimals(array: Any, precision: int, scale: int) -> Any:
    """Return numbers of two's complement, big-endian, as decimals; too long ones are null."""
    data, cuts = _laid(array)
    ends, sizes = cuts[1:], np.diff(cuts)
    good = present(array) & (sizes > 0)
    negative = np.zeros(len(array), np.bool_)
    some = np.flatnonzero(good)
    negative[some] = data[cuts[some]] > 0x7F
    digits = np.zeros((len(array), _WIDE), np.uint8)
    digits[negative] = 0xFF
    for place in range(_WIDE):
        some = np.flatnonzero(good & (sizes > place))
        digits[some, place] = data[ends[some] - 1 - place]
    for row in np.flatnonzero(good & (sizes > _WIDE)).tolist():
        value = int.from_bytes(data[cuts[row] : ends[row]].tobytes(), "big", signed=True)
        good[row] = abs(value) < 10**precision
    low = digits[:, :8].copy().view("<u8")[:, 0]
    high = digits[:, 8:].copy().view("<i8")[:, 0]
    good &= _below(high, low, 10**precision) & ~_below(high, low, 1 - 10**precision)
    buffers = [_packed(good), pa.py_buffer(digits.tobytes())]
    return pa.Array.from_buffers(pa.decimal128(precision, scale), len(array), buffers)


def _below(high: Int64s, low: npt.NDArray[np.uint64], bound: int) -> Bools:
    top, rest = bound >> 64, np.uint64(bound & (2**64 - 1))
    return np.asarray((high < top) | ((high == top) & (low < rest)))


def _packed(good: Bools) -> Any:
    return pa.py_buffer(np.packbits(good, bitorder="little").tobytes())


def _durations(array: Any) -> Any:
    """Return months, days and milliseconds, which lie as three unsigned little-endian ints."""
    data, cuts = _laid(array)
    there = present(array)
    parts = np.zeros((len(array), 3), np.uint32)
    starts = cuts[:-1][there]
    parts[there] = data[starts[:, None] + np.arange(12)].view("<u4")
    columns = [pa.array(parts[:, number].astype(np.int64)) for number in range(3)]
    return pa.StructArray.from_arrays(
        columns, names=["months", "days", "millis"], mask=pa.array(~there)
    )
