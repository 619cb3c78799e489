"""Named sink: one whose partitions are what items are for, topics or tables, each at one worker."""

from collections.abc import Iterable
from typing import TypeVar

from bytewax.outputs import FixedPartitionedSink

_Item = TypeVar("_Item")
_State = TypeVar("_State")


class NamedSink(FixedPartitionedSink[_Item, _State]):
    """Takes `(name, item)`; each name is a partition."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)

    def list_parts(self) -> list[str]:
        """Return the names."""
        return list(self._names)

    def part_fn(self, item_key: str) -> int:
        """Return the place of a name among the parts, which Bytewax sorts."""
        return self._names.index(item_key)
