"""Explaining: one decision, made again of what the tables have of it, and by today's rules."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
from deltalake import DeltaTable

from flows import control
from flows.connecting import rules_of
from flows.decisions import reads_of, versions_of
from flows.settings import Settings
from flows.streams import Stream
from flows.tables import defined, rule, status, threshold, thresholds_of
from operators.connectors.delta.definitions import History, history
from operators.connectors.delta.reading import read
from operators.connectors.delta.table import reaching, table_uri
from operators.control.changes import Change
from operators.control.state import State
from operators.decisions.decider import Decider
from operators.decisions.thresholds import At, fixed
from operators.decisions.versions import CHANGES, Versions, unchanged
from operators.records.tables import Table
from operators.rules.rules import Rules, RuleSet
from ops.verify.control import Changed
from ops.verify.decided import Decided, inputs
from ops.verify.decisions import as_were
from ops.verify.since import since_rules


class UnknownEventError(LookupError):
    """No table has the event."""


@dataclass(frozen=True)
class Explained:
    """A decision on an event: as it is recorded, as the tables make it again, and as of today.

    Each is a row by column, None where the event is plainly approved. `known` tells whether there
    were decisions by then, `comparable` whether the tables have all that it was made of; `shadow`
    are the alerts that did not count, and `changed` the definitions that are others today: by name
    as they were and are, None for none. `inputs` are what the model took of the event, NaN for what
    is unknown; None if no model was asked, or it is not today's, whose inputs alone are known.
    `versions` are the changes of lists and of thresholds that last began to hold by then, by the
    column that names them; None where none has, or decisions did not name them yet.
    """

    event: Mapping[str, Any]
    known: bool
    comparable: bool
    recorded: Mapping[str, Any] | None
    replayed: Mapping[str, Any] | None
    today: Mapping[str, Any] | None
    shadow: Sequence[Mapping[str, Any]]
    changed: Mapping[str, tuple[str | None, str | None]]
    inputs: Mapping[str, float] | None = None
    versions: Mapping[str, Change | None] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether the tables make the decision again that is recorded."""
        return self.recorded == self.replayed


def explain(settings: Settings, stream: Stream, event_id: str) -> Explained:
    """Explain the newest decision on an event.

    Raises UnknownEventError, StorageUnavailableError, RuleError and, where there is a control
    topic, KafkaUnavailableError.
    """
    tables = _Tables(settings.delta_root)
    rows = _event(tables, stream, event_id)
    event = rows.row(0, named=True)
    where = (
        f"source_topic = '{_text(event['source_topic'])}' AND "
        f"source_partition = {event['source_partition']} AND "
        f"source_offset = {event['source_offset']}"
    )
    alerts = tables.read(stream.alerts, where)
    recorded = tables.read(stream.decisions, where)
    rules = rules_of(stream, settings)
    assert rules is not None  # noqa: S101 # a stream that decides
    state = control.recorded(settings, stream)
    told = {each.name: tables.told(each) for each in (stream.decisions, stream.alerts)}
    topic = event["source_topic"]
    own = told[stream.decisions.name], told[stream.alerts.name]
    decided = Decided(stream, topic, *own, state)
    held: Rules = rules
    if state is not None:
        held = Changed(stream, rules, state, own[1], topic)
    compared = since_rules(own[1], stream, settings.of(stream), rules)
    were = as_were(held, compared, rows, alerts, recorded)
    now = _today(stream, settings, rules, state)
    return Explained(
        {name: event[name] for name in (*_PLACE, stream.id, stream.key, "event_time")},
        known=bool(own[0]) and bool(decided.known(rows)[0]),
        comparable=bool(decided.comparable(rows)[0]) and not decided.remade(recorded).any(),
        recorded=_row(recorded),
        replayed=_row(decided.made(rows, alerts, *were, recorded)),
        today=_row(now.decide(rows[list(stream.columns)])),
        shadow=alerts.filter(pl.col("rule_status") == "shadow").to_dicts(),
        changed=_changed(own[0], stream, settings, rules, event) | now.changed,
        inputs=_inputs(stream, rows, decided),
        versions={
            name: _change(state, name, each.item())
            for name, each in decided.versions(rows, recorded).items()
        },
    )


def _change(state: State | None, column: str, offset: int | None) -> Change | None:
    """Return the change of which a decision names the offset."""
    found = [
        each
        for each in (state.changes if state else ())
        if each.offset == offset and each.kind == CHANGES[column]
    ]
    # A topic that was made anew begins at 0 again.
    return found[-1] if found else None


def _inputs(stream: Stream, rows: pl.DataFrame, decided: Decided) -> dict[str, float] | None:
    """Return what today's model took of an event, None unless it was the one that was asked."""
    if stream.model is None or decided.model_of(rows) != [stream.model.card.file]:
        return None
    (taken,) = stream.model.inputs(rows).tolist()
    return dict(zip(stream.model.card.inputs, taken, strict=True))


_PLACE: Final = ("source_topic", "source_partition", "source_offset")


class _Tables:
    """A stream's tables, as they are now."""

    def __init__(self, root: str) -> None:
        self._root = root

    def read(self, table: Table, where: str, columns: Any = None) -> pl.DataFrame:
        """Return rows of a table, none if it is not there."""
        uri, names = table_uri(self._root, table.name), columns or table.columns
        with reaching(uri):
            if not DeltaTable.is_deltatable(uri):
                return pl.DataFrame(schema=names)
            return read(DeltaTable(uri), names, where)

    def told(self, table: Table) -> History:
        """Return what a table tells of its rows."""
        uri = table_uri(self._root, table.name)
        with reaching(uri):
            there = DeltaTable.is_deltatable(uri)
            return (history(DeltaTable(uri)) or {}) if there else {}


def _event(tables: _Tables, stream: Stream, event_id: str) -> pl.DataFrame:
    """Return the event's newest row in silver."""
    where = f"\"{stream.id}\" = '{_text(event_id)}'"
    # Where it was decided on, the small table tells where in the large one it is.
    near = tables.read(stream.decisions, where).sort("event_time")[-1:]
    if near.height:
        place = near.row(0, named=True)
        where += f" AND source_partition = {place['source_partition']}"
        where += f" AND source_offset = {place['source_offset']}"
    found = tables.read(stream.silver, where, inputs(stream)).sort("event_time")
    if not found.height:
        raise UnknownEventError(
            f"no {stream.record} {event_id} in {stream.silver.name}: it has not come yet, was "
            "refused (millstream dlq list), or never was"
        )
    return found[-1:]


def _text(value: str) -> str:
    return value.replace("'", "''")


def _row(rows: pl.DataFrame) -> dict[str, Any] | None:
    return rows.row(0, named=True) if rows.height else None


@dataclass(frozen=True)
class _Today:
    """How decisions are made today, and which of it a control topic has changed."""

    rules: RuleSet
    decider: Decider
    changed: dict[str, tuple[str | None, str | None]]

    def decide(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the decision on an event as if it came now."""
        return self.decider.decide(rows, self.rules.evaluate(rows).alerts)


def _today(stream: Stream, settings: Settings, rules: RuleSet, state: State | None) -> _Today:
    at: At = fixed(thresholds_of(stream, settings.of(stream)))
    versions: Versions = unchanged
    found, changed = rules, {}
    if state is not None:
        now = time.time_ns() // 1_000
        found = control.book_of(stream, rules, state).at(now)
        at, known = _at_time(at, state, now), versions_of(state, np.array([now]))
        versions = lambda events: known  # noqa: E731 # of one event
        files = {each.id: each.definition for each in rules.rules}
        held = {each.id: each.definition for each in found.rules}
        changed = {
            rule(name): (files.get(name), held.get(name))
            for name in sorted(files.keys() | held.keys())
            if files.get(name) != held.get(name)
        }
    own = settings.of(stream)
    decider = Decider(
        stream.id, stream.key, at, reads_of(found),
        every=own.decisions == "all", model=stream.model.card.file if stream.model else None,
        versions=versions,
    )  # fmt: skip
    return _Today(found, decider, changed)


def _at_time(declared: At, state: State, now: int) -> At:
    def at(name: str, events: pl.DataFrame) -> Any:
        times = pl.Series([now] * events.height, dtype=pl.Datetime("us", "UTC"))
        changed = state.threshold(name, times, np.nan).to_numpy()
        return np.where(np.isnan(changed), declared(name, events), changed)

    return at


def _changed(
    told: History, stream: Stream, settings: Settings, rules: RuleSet, event: Mapping[str, Any]
) -> dict[str, tuple[str | None, str | None]]:
    """Return which definitions of the files are others today than they were for the event."""
    (table,) = (
        each
        for each in defined(stream, settings.of(stream), rules)
        if each.name == stream.decisions.name
    )
    found = {}
    for name, entries in told.items():
        if not name.startswith((rule(""), status(""), threshold(""))):
            continue
        was = None
        for each in entries:
            last = each.written_of(event["source_topic"]).get(event["source_partition"], -1)
            if event["source_offset"] > last:
                was = each.text
        if was != table.definitions.get(name):
            found[name] = was, table.definitions.get(name)
    new = table.definitions.keys() - told.keys()
    found |= {
        name: (None, table.definitions[name])
        for name in sorted(new)
        if told and name.startswith((rule(""), status(""), threshold("")))
    }
    return found
