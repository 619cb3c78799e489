"""Frames as Arrow IPC streams: how they stand in recovered state, which outlives releases."""

import polars as pl


def to_ipc(*frames: pl.DataFrame | None) -> bytes | None:
    """Return the rows of frames with equal columns; None if there is no row."""
    filled = [frame for frame in frames if frame is not None and frame.height]
    return _stream(pl.concat(filled)) if filled else None


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
