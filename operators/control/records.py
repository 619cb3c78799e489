"""Records of a control topic, as they are read and kept, with what they say."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from operators.control.changes import Change, ChangeError, read_change
from operators.rules.rule import Rule

Unfit = Callable[[Rule], str | None]
"""Says why a rule cannot be evaluated here, None if it can."""


@dataclass(frozen=True)
class ControlRecord:
    """A record: `time` is Kafka's in µs, `topic_id` says of which topic it is, by identity."""

    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    topic_id: str

    @cached_property
    def _read(self) -> tuple[Change | None, str | None]:
        try:
            return read_change(self.offset, self.time, self.key, self.value), None
        except ChangeError as error:
            return None, str(error)

    @property
    def change(self) -> Change | None:
        """What it says, None if that is refused."""
        return self._read[0]

    @property
    def refused(self) -> str | None:
        """Why nobody can make anything of it."""
        return self._read[1]

    def usable(self, unfit: Unfit) -> tuple[Change | None, str | None]:
        """Return the change, or why it changes nothing here."""
        change, refused = self._read
        if change is not None and isinstance(change.content, Rule):
            refused = unfit(change.content)
        return (None, refused) if refused else (change, None)
