"""The decisions, made anew of silver's rows and of the alerts that were found on them."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import polars as pl

from flows.decisions import reads_of
from operators.decisions.decider import Reads
from operators.rules.rules import Rules
from ops.verify.control import Changed
from ops.verify.decided import Decided, Hits
from ops.verify.report import Check, only_once
from ops.verify.since import Compared

_PLACE: Final = ["source_partition", "source_offset"]


def as_were(
    rules: Rules,
    compared: Compared,
    silver: pl.DataFrame,
    alerts: pl.DataFrame,
    decisions: pl.DataFrame,
) -> tuple[Reads, Hits]:
    """Return what tells which columns the rules of alerts have read, and what older ones read.

    Where a rule was another one than its file has now, or was evaluated on a feature that silver
    has not of that row, nobody knows any more: that is as the decision has it.
    """
    held = compared.of(alerts)
    reads = reads_of(rules)
    if isinstance(rules, Changed):
        held = rules.but_of_changed(compared.of, silver)(alerts)
        reads = rules.reads
    keys = [*_PLACE, "rule_id"]
    older = {*alerts.join(held, on=keys, how="anti").select(keys).iter_rows()}

    def names(alert: Mapping[str, Any]) -> Collection[str]:
        key = alert["source_partition"], alert["source_offset"], alert["rule_id"]
        return () if key in older else reads(alert)

    places = decisions.select(*_PLACE, "hits").iter_rows() if older else ()
    recorded = {
        (partition, offset, hit["rule_id"]): hit["values"]
        for partition, offset, hits in places
        for hit in hits or ()
    }
    return names, {key: text for key, text in recorded.items() if key in older}


def check_decisions(
    decided: Decided,
    reads: Reads,
    older: Hits,
    silver: pl.DataFrame,
    alerts: pl.DataFrame,
    decisions: pl.DataFrame,
) -> Check:
    """Compare the table of decisions, row for row, with what they are made of.

    `silver` has `inputs`. The alerts are held to silver elsewhere, each by its rule as it was; so
    what was decided before a rule was changed is compared as well.
    """
    mine = decisions.filter(decided.comparable(decisions) & ~decided.remade(decisions))
    apart = decisions.join(mine.select(_PLACE), on=_PLACE, how="anti").select(_PLACE)
    expected = decided.made(silver, alerts, reads, older, decisions)
    expected = expected.join(apart, on=_PLACE, how="anti")
    stream = decided.stream
    found = only_once(
        f"{stream.decisions.name} is what lists, alerts and model make of {stream.silver.name}",
        _flat(expected.filter(decided.comparable(expected))),
        _flat(mine),
        deleted=decisions.height - mine.height,
    )
    return replace(found, because="made while a crash kept a change from one of its tables")


def _flat(decisions: pl.DataFrame) -> pl.DataFrame:
    texts = [orjson.dumps(each).decode() for each in decisions["hits"].to_list()]
    return decisions.with_columns(hits=pl.Series(texts, dtype=pl.String))
