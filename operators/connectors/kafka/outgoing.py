"""Messages on their way out: what they carry, and what is left of one that is too large."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from operators.records.batches import Progress

ID_HEADER: Final = "millstream.id"
SOURCE_HEADER: Final = "millstream.source"
SOURCE_ID_HEADER: Final = "millstream.source_id"
"""Which topic the record behind a message is of: ids and coordinates come again in another one."""

RECORD_HEADER: Final = "millstream.record"
"""Which record a message is: its topic/partition/offset, and behind an @ which topic that is.

One header, as in what is sent on as it came each costs a fifth of sending it.
"""

Coordinates: TypeAlias = tuple[str, int, int]
Part: TypeAlias = Literal["value", "headers", "key"]
HeaderPairs: TypeAlias = tuple[tuple[str, bytes | None], ...]


def left_out_header(part: Part) -> str:
    """Return the header that says that a part was left out; its value says how large it was."""
    return f"millstream.{part}_left_out"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send: its deterministic id, and the coordinates of the record behind it.

    `headers` are ours, `originals` those of the record behind it, which go out before ours and
    as they came. `left_out` are the parts that it does without, with their sizes in bytes.
    """

    id: str
    source: Coordinates
    key: bytes | None
    value: bytes | None
    headers: HeaderPairs = ()
    originals: HeaderPairs = ()
    left_out: tuple[tuple[Part, int], ...] = ()

    def all_headers(self) -> list[tuple[str, bytes | None]]:
        """Return the headers in the order in which they go out: where names repeat, ours last."""
        return [
            *self.originals,
            *self.headers,
            *(
                (left_out_header(part), b"%d bytes, too large for the topic" % size)
                for part, size in self.left_out
            ),
            (ID_HEADER, self.id.encode()),
            (SOURCE_HEADER, "/".join(map(str, self.source)).encode()),
        ]

    def of(self, identity: str | None) -> "Outgoing":
        """Return it with which topic its record is of, if that is known."""
        if identity is None:
            return self
        headers = (*self.headers, (SOURCE_ID_HEADER, identity.encode()))
        # Every message goes through here, and `replace` would take twice as long.
        return Outgoing(
            self.id, self.source, self.key, self.value, headers, self.originals, self.left_out
        )

    def smaller(self) -> "Outgoing | None":
        """Return it without its largest part, None if it has none left to do without.

        The largest, so that as few as can be go: a record with a megabyte of headers keeps its
        value.
        """
        sizes: dict[Part, int] = {
            "value": len(self.value or b""),
            "headers": sum(
                len(name.encode()) + len(value or b"") for name, value in self.originals
            ),
            "key": len(self.key or b""),
        }
        part = max(sizes, key=lambda each: sizes[each])
        if not sizes[part]:
            return None
        left_out = (*self.left_out, (part, sizes[part]))
        if part == "value":
            return replace(self, value=None, left_out=left_out)
        if part == "headers":
            return replace(self, originals=(), left_out=left_out)
        return replace(self, key=None, left_out=left_out)


KafkaItem: TypeAlias = Sequence[Outgoing] | Progress
