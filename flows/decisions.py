"""Decisions: what makes a stream's, by its thresholds, its rules and what changes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from flows.parts import Parts
from flows.settings import Settings
from flows.starting import told_by
from flows.streams import Stream
from flows.tables import decided_since, thresholds_of
from operators.columns.arrays import Floats, Int64s
from operators.control.book import Book
from operators.control.changes import micros_of
from operators.control.state import State, times_of
from operators.decisions.decider import Decider, Reads
from operators.decisions.thresholds import At, Thresholds, fixed
from operators.decisions.versions import CHANGES, Versions, unchanged
from operators.records.tables import Table
from operators.rules.rules import Rules
from operators.steps.control import Control


def deciding(
    parts: Parts, stream: Stream, settings: Settings, tables: Sequence[Table] = ()
) -> Parts:
    """Return a stream's parts with what makes its decisions, if it makes any.

    `tables` are those of the flow, as they are defined; told already. Raises RuleError.
    """
    if not stream.decides:
        return parts
    decided: Mapping[int, int] = {}
    for each in tables:
        if each.name == stream.decisions.name:
            decided = decided_since(told_by(settings, each), settings.of(stream).topic)
    decider = decider_of(stream, settings, parts.rules, parts.control)
    return replace(parts, decider=decider, decided=decided)


def decider_of(
    stream: Stream, settings: Settings, rules: Rules | None, control: Control | None
) -> Decider | None:
    """Return what makes a stream's decisions of what rules find, None if it makes none.

    Raises RuleError for thresholds that are none.
    """
    if not stream.decides or rules is None:
        return None
    own = settings.of(stream)
    thresholds = thresholds_of(stream, own)
    at = fixed(thresholds) if control is None else _changed(thresholds, control)
    model = stream.model.card.file if stream.model else None
    every = own.decisions == "all"
    versions = unchanged if control is None else _versions(control)
    return Decider(
        stream.id, stream.key, at, reads_of(rules), every=every, model=model, versions=versions
    )


def versions_of(state: State, times: Int64s) -> dict[str, pl.Series]:
    """Return by which changes of lists and thresholds events of Kafka times, in µs, are decided."""
    return {name: state.newest(kind, times) for name, kind in CHANGES.items()}


def _versions(control: Control) -> Versions:
    return lambda events: versions_of(control.state, times_of(events))


def _changed(thresholds: Thresholds, control: Control) -> At:
    """Return what tells those of a file where the control topic has not changed them."""
    known: Mapping[str, float] = thresholds.model_dump()

    def at(name: str, events: pl.DataFrame) -> Floats:
        times = events["kafka_timestamp"]
        return control.state.threshold(name, times, known[name]).to_numpy()

    return at


def reads_of(rules: Rules) -> Reads:
    """Return what tells which columns the rule of an alert has read, as it was at its time."""

    def reads(alert: Mapping[str, Any]) -> set[str]:
        time = alert["kafka_timestamp"]
        held = rules
        if isinstance(rules, Book):
            held = rules.at(0 if time is None else micros_of(time))
        return next((each.reads for each in held.rules if each.id == alert["rule_id"]), set())

    return reads
