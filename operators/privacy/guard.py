"""Guard: does to batches what is declared of a record's personal data."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from operators.privacy.declared import Privacy, Sealable, Treatment, Treats
from operators.privacy.keys import KeyRing
from operators.privacy.sealing import sealed

_KEPT: Final = 4
_MASK: Final = "****"


@dataclass(frozen=True)
class Guard:
    """What is declared of a record, with the keys that it takes."""

    privacy: Privacy = field(default_factory=Privacy)
    ring: KeyRing = field(default_factory=lambda: KeyRing({}))

    def value(self, sink: Treats, name: str, value: str) -> str:
        """Return what a sink has of the value of a text field."""
        how = self.privacy.of(sink).get(name)
        return value if how is None else self._made(how, name)(value)

    def rows(self, sink: Treats, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows as a sink has them; fields that they lack are none."""
        return self._treated(self.privacy.of(sink), rows)

    def seals(self, sink: Sealable) -> bool:
        """Tell whether a sink encrypts its records."""
        return self.privacy.seals(sink)

    def sealed(self, sink: Sealable, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows of records as a sink has them."""
        return sealed(rows, self.ring.newest) if self.seals(sink) else rows

    @property
    def definitions(self) -> dict[str, str]:
        """By field what silver has of it, in words: rows of one table are of the same."""
        return {
            name: how if how == "mask" else f"{how} by key {self.ring.oldest.id}"
            for name, how in self.privacy.of("silver").items()
        }

    def _treated(self, how: Mapping[str, Treatment], rows: pl.DataFrame) -> pl.DataFrame:
        made = [
            self._column(each, rows[name]) for name, each in how.items() if name in rows.columns
        ]
        return rows.with_columns(made) if made else rows

    def _column(self, how: Treatment, column: pl.Series) -> pl.Series:
        if column.dtype != pl.String:
            return pl.Series(column.name, [None], column.dtype).new_from_index(0, len(column))
        # Each value once: a batch has many payments of one card.
        values = column.unique().drop_nulls()
        make = self._made(how, column.name)
        new = pl.Series([make(each) for each in values], dtype=pl.String)
        return column.replace_strict(values, new, default=None, return_dtype=pl.String)

    def _made(self, how: Treatment, name: str) -> Callable[[str], str]:
        if how == "mask":
            return _masked
        if how == "token":
            return lambda value: self.ring.oldest.token(name, value)
        return lambda value: self.ring.hidden(name, value)

    def noted(self, notes: pl.Series) -> pl.Series:
        """Return notes of repairs, as JSON, with what fields were as silver has these."""
        how = self.privacy.of("silver")
        if not how or notes.null_count() == len(notes):
            return notes
        told = [None if each is None else self._note(how, each) for each in notes]
        return pl.Series(notes.name, told, pl.String)

    def _note(self, how: Mapping[str, Treatment], text: str) -> str:
        entries: list[dict[str, Any]] = json.loads(text)
        for each in entries:
            if each["field"] in how:
                made = self._made(how[each["field"]], each["field"])
                each["was"] = made(each["was"]) if isinstance(each["was"], str) else None
        return json.dumps(entries, separators=(",", ":"), ensure_ascii=False)


UNGUARDED: Final = Guard()
"""Does nothing to anything."""


def _masked(value: str) -> str:
    """Return a value's last characters, if those are less than half of it."""
    return _MASK + (value[-_KEPT:] if len(value) > 2 * _KEPT else "")
