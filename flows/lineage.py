"""Lineage: of which topics, and which of their fields, each table and its columns are made.

As it is declared, by the settings: what records do has no say in it. Say payments have a feature,
the mean of a card's amounts, and a rule reads it: the column of silver is made of `amount_minor`
and `card_id` of the topic then, and so is the alerts' score.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from flows.catalog import Flow
from flows.enforced.topic import Enforced
from flows.streams import CHARGEBACKS, ENRICHMENTS, PAYMENTS, Enriched, Stream
from flows.streams.chargebacks import outcome_tables
from operators.changes import DELETED, EVENT_TIME, MADE, SEQUENCE, Changes
from operators.columns.expressions import one_row
from operators.features import Feature
from operators.records.tables import Table
from operators.rules.rules import RuleSet

How = Literal["identity", "transformation", "aggregation"]
"""What becomes of a field, in OpenLineage's words."""

_OF_CHARGEBACK: Final = "chargeback_"


@dataclass(frozen=True, order=True)
class Field:
    """A field of a topic's records."""

    topic: str
    name: str

    def __str__(self) -> str:
        return f"{self.topic}.{self.name}"


@dataclass(frozen=True)
class Column:
    """What a column is made of, and how: `by` is the feature, aggregate or rules that make it."""

    of: tuple[Field, ...]
    how: How
    by: str = ""


@dataclass(frozen=True)
class TableLineage:
    """What a flow makes a table of: topics, and by column fields of theirs.

    Columns that are the records' as a whole, such as where each came from, are not in `columns`.
    """

    flow: str
    table: Table
    topics: tuple[str, ...]
    columns: Mapping[str, Column] = field(default_factory=dict)


def lineage_of(flow: Flow, rules: Mapping[str, RuleSet | None]) -> list[TableLineage]:
    """Return what each of a flow's tables is made of; `rules` are those of its streams, by name.

    Raises FeatureError.
    """
    found = dict(_of_tables(flow, rules))
    return [
        TableLineage(flow.name, each, *found.get(each.name, (tuple(flow.topics), {})))
        for each in flow.tables
    ]


def _of_tables(
    flow: Flow, rules: Mapping[str, RuleSet | None]
) -> Iterator[tuple[str, tuple[tuple[str, ...], Mapping[str, Column]]]]:
    topics = {each.name: flow.settings.of(each).topic for each in flow.reads}
    for stream in flow.reads:
        if isinstance(stream, Enforced):
            yield from _enforced(stream)
            continue
        labels = topics.get(stream.labelled.name) if stream.labelled else None
        made = _Made(stream, topics[stream.name], labels, rules.get(stream.name))
        for name, columns in made.tables():
            used = {each.topic for column in columns.values() for each in column.of}
            yield name, (tuple(sorted({topics[stream.name], *used})), columns)
    if PAYMENTS.name in topics and CHARGEBACKS.name in topics:
        late, outcomes = outcome_tables()
        columns = dict(_outcomes(outcomes, topics))
        both = tuple(sorted(topics.values()))
        yield late.name, (both, {})
        yield outcomes.name, (both, columns)
    for enriched in ENRICHMENTS:
        if enriched.name == flow.name:
            every = tuple(sorted(topics.values()))
            yield enriched.late.name, (every, {})
            yield enriched.table(0).name, (every, dict(_looked_up(enriched, topics)))


def _looked_up(enriched: Enriched, topics: Mapping[str, str]) -> Iterator[tuple[str, Column]]:
    """Yield the columns of who asks, and of what was looked up."""
    own = {name: name for name in enriched.columns}
    sides = [(enriched.stream, own)]
    sides += [(each.stream, dict(each.columns)) for each in enriched.lookups]
    for stream, columns in sides:
        made = _Made(stream, topics[stream.name], None, None).silver
        for name, column in columns.items():
            if column in made:
                yield name, made[column]


def _enforced(
    stream: Enforced,
) -> Iterator[tuple[str, tuple[tuple[str, ...], Mapping[str, Column]]]]:
    """Yield the tables of a topic that is enforced: its fields as they are, or repaired."""
    columns = {n: Column((Field(stream.topic, n),), "identity") for n in stream.fields}
    for each in stream.contract.repairs:
        of = dict.fromkeys(Field(stream.topic, n) for n in (each.field, each.of) if n)
        columns[each.field] = Column(tuple(of), "transformation", "repairs")
    yield stream.silver.name, ((stream.topic,), columns)
    for table in stream.all_tables[1:]:
        yield table.name, ((stream.topic,), {})


def _outcomes(table: Table, topics: Mapping[str, str]) -> Iterator[tuple[str, Column]]:
    """Yield the columns of a joined pair, in which a chargeback's have its prefix."""
    for name in table.columns:
        own = name if name in CHARGEBACKS.fields else name.removeprefix(_OF_CHARGEBACK)
        if name.startswith(_OF_CHARGEBACK) and own in CHARGEBACKS.fields:
            yield name, Column((Field(topics[CHARGEBACKS.name], own),), "identity")
        elif name in PAYMENTS.fields:
            yield name, Column((Field(topics[PAYMENTS.name], name),), "identity")


@dataclass(frozen=True)
class _Made:
    """What is made of the topic of a stream; `labels` is the topic of its labels, if it is read."""

    stream: Stream
    topic: str
    labels: str | None
    rules: RuleSet | None

    def tables(self) -> Iterator[tuple[str, Mapping[str, Column]]]:
        """Yield the tables' names with their columns."""
        stream = self.stream
        yield stream.silver.name, self.silver
        for each in (stream.bronze, stream.duplicates, stream.quarantine, stream.late):
            yield each.name, self._same(each.columns)
        if stream.changes is not None:
            yield stream.merged.name, self._merged(stream.changes)
        if stream.rules:
            yield stream.alerts.name, self._of_rules(stream.alerts, ("score", "reason"))
        if stream.decides:
            decided = ("decision", "decided_by", "score", "hits", "sentence")
            yield stream.decisions.name, self._of_rules(stream.decisions, decided)
        for name, windows in stream.windows.items():
            found = self._same(windows.by)
            for column, made in windows.aggregates.items():
                read = [made.column] if made.column else []
                read += made.masked.meta.root_names() if made.where else []
                of = self._fields([*windows.by, *read])
                found[column] = Column(of, "aggregation", f"{made.kind} in {name}")
            yield stream.window_table(name).name, found

    def _of_change(self, changes: Changes) -> dict[str, Column]:
        """Return the columns of a change that are of fields, but for the row's own."""
        deletes = one_row(changes.deletes).meta.root_names() if changes.deletes else []
        read = {
            EVENT_TIME: [changes.time or EVENT_TIME],
            SEQUENCE: [changes.sequence],
            DELETED: deletes,
        }
        own = {
            name: [n for n in names if n in self.stream.fields] for name, names in read.items()
        }
        made = {
            name: Column(
                tuple(Field(self.topic, n) for n in names), "transformation", "changes"
            )
            for name, names in own.items()
            if names
        }
        return made | self._same(self.stream.fields)

    def _merged(self, changes: Changes) -> dict[str, Column]:
        """Return the columns of what changes come to."""
        found, columns = dict(self.silver), self.stream.merged.columns
        of = self._fields([*changes.by, SEQUENCE, EVENT_TIME])
        if (time := found.pop(EVENT_TIME, None)) is not None:
            found["changed_at"] = time
        made = {n: Column(of, "aggregation", "changes") for n in MADE}
        return {n: each for n, each in (found | made).items() if n in columns}

    @cached_property
    def silver(self) -> dict[str, Column]:
        """The columns of silver that are of fields."""
        found = self._same(self.stream.fields)
        if self.stream.changes is not None:
            found |= self._of_change(self.stream.changes)
        # Each behind those that it reads, which may be features by the stream's own key.
        left = {each.name: each for each in self.stream.features.all_stated}
        while left:
            ready = [n for n, each in left.items() if not each.reads & left.keys() - {n}]
            for name in ready:
                found[name] = self._feature(left.pop(name), found)
        for code in self.stream.features.coded:
            of = _together(found[name] for name in (self.stream.key, *code.reads))
            for name in code.columns:
                found[name] = Column(of, "aggregation", f"feature {code.name}")
        if self.stream.model is not None:
            of = _together(
                found[name] for name in self.stream.model.card.reads() if name in found
            )
            found["model_score"] = Column(of, "transformation", "the model")
        return {name: found[name] for name in self.stream.columns if name in found}

    def _feature(self, feature: Feature, found: Mapping[str, Column]) -> Column:
        by = f"feature {feature.name}"
        topic = self.labels or "labels" if feature.of_labels else self.topic
        own = [Field(topic, name) for name in (*feature.by, *sorted(feature.reads))]
        read = [] if feature.of_labels else [n for n in feature.reads if n in found]
        fields = [each for each in own if each.name not in read]
        passed = _together(found[name] for name in sorted(read))
        asked = [Field(self.topic, name) for name in feature.by]
        return Column(tuple(dict.fromkeys([*asked, *fields, *passed])), "aggregation", by)

    def _of_rules(self, table: Table, made: Iterable[str]) -> dict[str, Column]:
        """Return the columns of alerts or decisions, those in `made` as rules make them."""
        read: dict[str, None] = {}
        for each in self.rules.rules if self.rules else ():
            read |= dict.fromkeys(sorted(each.reads))
        of = self._fields(read)
        found = self._same(table.columns)
        return found | {name: Column(of, "transformation", "rules") for name in made}

    def _same(self, columns: Iterable[str]) -> dict[str, Column]:
        own = [name for name in columns if name in self.stream.fields]
        return {name: Column((Field(self.topic, name),), "identity") for name in own}

    def _fields(self, columns: Iterable[str]) -> tuple[Field, ...]:
        """Return of which fields some columns of silver are."""
        return _together(self.silver[name] for name in columns if name in self.silver)


def _together(columns: Iterable[Column]) -> tuple[Field, ...]:
    return tuple(dict.fromkeys(each for column in columns for each in column.of))
