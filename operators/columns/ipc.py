"""Frames as Arrow IPC streams: how they stand in recovered state, which outlives releases."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from operators.columns.frames import stacked

_MARK: Final = 8
"""Bytes before a message: that there is one, and how long it is. None is how a stream ends."""


def to_ipc(*frames: pl.DataFrame | None) -> bytes | None:
    """Return the rows of frames with equal columns; None if there is no row."""
    filled = [frame for frame in frames if frame is not None and frame.height]
    return _stream(stacked(filled)) if filled else None


def joined(streams: Sequence[bytes]) -> bytes | None:
    """Return the rows of several states of `to_ipc` as one, without reading them.

    A stream says its columns, and then rows in messages. Where columns do not say the same, as
    after an upgrade of what writes them, they are read after all.
    """
    if len(streams) < 2:
        return streams[0] if streams else None
    columns = streams[0][: _first(streams[0])]
    if any(not each.startswith(columns) for each in streams):
        return _stream(stacked(map(from_ipc, streams)))
    rows = (memoryview(each)[len(columns) : -_MARK] for each in streams)
    return b"".join((columns, *rows, streams[0][-_MARK:]))


def _first(stream: bytes) -> int:
    """Return where what comes behind a stream's columns begins."""
    return _MARK + int.from_bytes(stream[_MARK // 2 : _MARK], "little")


def types_to_ipc(frame: pl.DataFrame) -> bytes:
    """Return a frame's columns and their types, without a row."""
    return _stream(frame.clear())


def from_ipc(state: bytes) -> pl.DataFrame:
    """Return what was given as a frame; 128-bit integers stay decimals."""
    return pl.read_ipc_stream(state)


def _stream(frame: pl.DataFrame) -> bytes:
    if pl.Int128 in frame.schema.dtypes():
        # 128-bit integers are Polars' own; to Arrow they are decimals without a fraction.
        frame = frame.with_columns(pl.selectors.by_dtype(pl.Int128).cast(pl.Decimal(38, 0)))
    # Views bring along, within lists and structs, all the bytes that their texts were picked from;
    # elsewhere they are smaller, as short texts that come again are compressed better than offsets.
    nested = any(dtype.is_nested() for dtype in frame.schema.dtypes())
    texts = pl.CompatLevel.oldest() if nested else pl.CompatLevel.newest()
    # A stream: as a file, small frames take three times as long.
    return bytes(frame.write_ipc_stream(None, compression="lz4", compat_level=texts).getvalue())
