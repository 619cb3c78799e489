"""How many bytes of texts frames hold on to, used or not, wherever in an object they are."""

from collections.abc import Iterator
from typing import Any

import polars as pl


def held(kept: Any) -> int:
    """Return the bytes of all buffers of texts, views included, in the frames of an object."""
    views = pl.CompatLevel.newest()
    columns = [each for frame in _frames(kept) for each in frame.get_columns()]
    texts = [each for each in columns if each.dtype == pl.String or each.dtype.is_nested()]
    found = [each.to_arrow(compat_level=views).buffers() for each in texts]
    return sum(buffer.size for buffers in found for buffer in buffers if buffer is not None)


def _frames(kept: Any) -> Iterator[pl.DataFrame]:
    if isinstance(kept, pl.DataFrame):
        yield kept
    elif isinstance(kept, dict | list | tuple):
        for part in kept.values() if isinstance(kept, dict) else kept:
            yield from _frames(part)
    elif type(kept).__module__.startswith("operators."):
        names = [*getattr(kept, "__dict__", ()), *getattr(type(kept), "__slots__", ())]
        for name in names:
            yield from _frames(getattr(kept, name))
