"""Upkeep: how a table is maintained, as its stream declares it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from operators.records.tables import KEPT


@dataclass(frozen=True)
class Upkeep:
    """How large files of a table should be, for how long it keeps those of before, and its order.

    `target` is in bytes. For `keep` a table can be brought back to what it was, and its log has
    that much of its commits: on a disk, unlike in an object store, each new one takes the longer
    the more there are. Rows of a file are near each other in the columns `z_order`, if there are
    any, so that who looks for some values opens few files. Rows older than `retention` are to go,
    if there is one.
    """

    target: int = 128 * 2**20
    keep: timedelta = KEPT
    z_order: tuple[str, ...] = ()
    retention: timedelta | None = None


OF_REFUSED: Final = Upkeep(retention=timedelta(days=30))
"""Of a table of what was refused."""
