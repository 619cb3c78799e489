"""Since: which rows today's definitions can be held to, by what the tables tell of themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from flows.streams import Stream
from flows.streams.settings import StreamSettings
from flows.tables import aggregate, columns_of_features, defined, feature, rule
from operators.connectors.delta.definitions import History, Told
from operators.records.batches import NO_WATERMARK
from operators.rules.rules import RuleSet


def since(told: Sequence[Told] | None, text: str, topic: str) -> dict[int, int] | None:
    """Return by partition the offset up to which rows may be made by another text, inclusive.

    None if no row is made by this one yet. What tells nothing was never another.
    """
    if not told:
        return {}
    return told[-1].of(topic) if told[-1].text == text else None


def since_features(
    told: History, stream: Stream, topic: str
) -> dict[str, dict[int, int] | None]:
    """Return what `since` says of each feature that a stream's silver tells of."""
    texts = columns_of_features(stream)
    return {
        name: since(told[feature(name)], text, topic)
        for name, text in texts.items()
        if told.get(feature(name))
    }


def since_aggregates(told: History) -> dict[str, int]:
    """Return the aggregates that a table has not had from its beginning, and since when, in µs."""
    return {
        name.removeprefix(aggregate("")): each[-1].watermark
        for name, each in told.items()
        if name.startswith(aggregate("")) and each[-1].watermark != NO_WATERMARK
    }


@dataclass(frozen=True)
class Compared:
    """From where on alerts can be held to their rules: by rule, what `since` says of it."""

    rules: Mapping[str, Mapping[int, int] | None]

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with `rule_id` and their place that can be; unknown rules' can."""
        older = pl.lit(value=False)
        for name, last in self.rules.items():
            mine = pl.col("rule_id") == name
            if last is None:
                older |= mine
            for partition, offset in (last or {}).items():
                place = pl.col("source_partition") == partition
                older |= mine & place & (pl.col("source_offset") <= offset)
        return rows.filter(~older)


def since_rules(told: History, stream: Stream, own: StreamSettings, rules: RuleSet) -> Compared:
    """Return from where on alerts can be held to their rules, by what their table tells."""
    (table,) = (t for t in defined(stream, own, rules) if t.name == stream.alerts.name)
    found = {
        each.id: since(told.get(rule(each.id)), table.definitions[rule(each.id)], own.topic)
        for each in rules.rules
    }
    gone: dict[str, Mapping[int, int] | None] = {
        name.removeprefix(rule("")): None
        for name, entries in told.items()
        if name.startswith(rule("")) and any(each.text for each in entries)
    }
    return Compared(gone | found)
