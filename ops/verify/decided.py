"""How decisions were made: by which thresholds, model and changes, row for row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, TypeAlias

import numpy as np
import polars as pl

from flows.decisions import versions_of
from flows.streams import Stream
from flows.tables import (
    BY_CHANGES,
    BY_MODEL,
    CONTROL,
    OF_EVERY,
    UNNAMED,
    rule,
    status,
    threshold,
)
from operators.columns.arrays import Bools, Floats
from operators.connectors.delta.definitions import History, Told
from operators.control.state import State, times_of
from operators.decisions.columns import LISTED, MODEL
from operators.decisions.decider import Decider, Reads
from operators.decisions.versions import unchanged
from ops.verify.statuses import behind

_PLACE: Final = ["source_partition", "source_offset"]


def inputs(stream: Stream) -> dict[str, pl.DataType]:
    """Return the columns of silver that decisions are made of, those of other days included."""
    return {**stream.columns, LISTED: pl.String(), MODEL: pl.Float64()}


Hits: TypeAlias = Mapping[tuple[int, int, str], str]
"""What hits have read, as JSON text, by place and rule."""


@dataclass(frozen=True)
class Decided:
    """How a stream's decisions were made, row by row, by what its tables tell of themselves.

    `told` is what that of decisions tells, `of_alerts` that of alerts, `topic` the stream's;
    `state` has what a control topic has changed.
    """

    stream: Stream
    topic: str
    told: History
    of_alerts: History
    state: State | None = None

    @cached_property
    def begin(self) -> dict[int, int]:
        """The last offsets, by partition, of which there were no decisions yet."""
        entries = self.told.get(threshold("review"))
        return entries[0].of(self.topic) if entries else {}

    def threshold_at(
        self, name: str, rows: pl.DataFrame, recorded: pl.DataFrame | None = None
    ) -> Floats:
        """Return the threshold of each of n rows, shape (n,); `recorded` are the decisions."""
        found = np.full(rows.height, np.nan)
        for each in self.told.get(threshold(name), ()):
            if each.text is not None:
                found[self._since(each, rows, recorded)] = float(each.text)
        if self.state is None:
            return found
        followed = self.told.get(CONTROL)
        last = followed[-1].written_of(self.topic) if followed else {}
        changed = self.state.threshold(name, rows["kafka_timestamp"], np.nan).to_numpy()
        return np.where(np.isnan(changed) | ~behind(rows, last), found, changed)

    def model_of(
        self, rows: pl.DataFrame, recorded: pl.DataFrame | None = None
    ) -> list[str | None]:
        """Return by which model each row was decided; see `threshold_at`.

        None for no model, UNNAMED where decisions did not name it yet.
        """
        return self._texts(BY_MODEL, rows, recorded)

    def versions(
        self, rows: pl.DataFrame, recorded: pl.DataFrame | None = None
    ) -> dict[str, pl.Series]:
        """Return by which changes each row was decided, as of `Versions`; see `threshold_at`.

        None where decisions did not name them yet.
        """
        if self.state is None:
            return unchanged(rows)
        told = self._texts(BY_CHANGES, rows, recorded)
        named = pl.Series([bool(each) for each in told], dtype=pl.Boolean())
        found = versions_of(self.state, times_of(rows))
        return {name: each.set(~named, None) for name, each in found.items()}

    def every(self, rows: pl.DataFrame, recorded: pl.DataFrame | None = None) -> Bools:
        """Tell which of n rows have a decision in any case, shape (n,); see `threshold_at`."""
        return np.array([bool(each) for each in self._texts(OF_EVERY, rows, recorded)], bool)

    def _texts(
        self, name: str, rows: pl.DataFrame, recorded: pl.DataFrame | None
    ) -> list[str | None]:
        found = np.full(rows.height, None, np.object_)
        for each in self.told.get(name, ()):
            if each.text is None:
                # What had been said of others is there; without a row nothing was.
                found[behind(rows, each.written_of(self.topic))] = None
            else:
                found[self._since(each, rows, recorded)] = each.text
        texts: list[str | None] = found.tolist()
        return texts

    def _since(self, each: Told, rows: pl.DataFrame, recorded: pl.DataFrame | None) -> Bools:
        """Tell which of n rows were decided by what was told, shape (n,).

        What the flow had accounted for was not. Plain approvals leave no row, so that the table
        itself may have been far behind that; a decision that it has from in between was made again
        behind a crash, and by what was told.
        """
        found = behind(rows, each.of(self.topic))
        between = behind(rows, each.written_of(self.topic)) & ~found
        if recorded is not None and between.any():
            there = recorded.select(pl.struct(_PLACE)).to_series().implode()
            found |= (
                between & rows.select(pl.struct(_PLACE)).to_series().is_in(there).to_numpy()
            )
        return found

    def remade(self, decisions: pl.DataFrame) -> Bools:
        """Tell which of n decisions were made by a model that silver's rows were not scored by.

        They were made again behind a crash, before which there was no model yet; shape (n,).
        """
        found = np.zeros(decisions.height, np.bool_)
        for each in self.told.get(BY_MODEL, ()):
            if each.text is not None:
                last = behind(decisions, each.of(self.topic))
                found |= behind(decisions, each.written_of(self.topic)) & ~last
        return found & np.asarray(decisions["model_score"].is_not_null(), np.bool_)

    def known(self, rows: pl.DataFrame) -> Bools:
        """Tell of which of n rows there were decisions already, shape (n,)."""
        return behind(rows, self.begin)

    def comparable(self, rows: pl.DataFrame) -> Bools:
        """Tell which of n rows can be held to the alerts that there are, shape (n,).

        Not those from before there were decisions; nor what a crash had kept from one of the two
        tables when a rule was changed, as one has it by that rule as it was.
        """
        found = self.known(rows)
        for one, other in self._changes():
            found &= behind(rows, one) == behind(rows, other)
        return found

    def _changes(self) -> Iterator[tuple[dict[int, int], dict[int, int]]]:
        """Yield the last offsets that each table had at each change of a rule or its status."""
        for name, entries in self.told.items():
            if name != CONTROL and not name.startswith((rule(""), status(""))):
                continue
            for each in entries:
                same = [e for e in self.of_alerts.get(name, ()) if _is_of(e, each)]
                for other in same:
                    yield each.written_of(self.topic), other.written_of(self.topic)

    def may_be_more(self, decision_id: str) -> bool:
        """Tell whether a message may be there that the table has no row of.

        One that was sent before there was the table, or in an epoch that a crash ended before
        something was changed.
        """
        _, partition, offset = decision_id.rsplit("/", 2)
        row = pl.DataFrame(
            {"source_partition": [int(partition)], "source_offset": [int(offset)]}
        )
        return not behind(row, self.begin)[0] or any(
            behind(row, each.written_of(self.topic))[0]
            for entries in self.told.values()
            for each in entries
            if each.written
        )

    def made(
        self,
        silver: pl.DataFrame,
        alerts: pl.DataFrame,
        reads: Reads,
        older: Hits,
        recorded: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Return the decisions on silver's rows, of the alerts that were found on them.

        `reads` and `older` are as `as_were` says, `recorded` are the decisions that the table has.
        """
        at = partial(self.threshold_at, recorded=recorded)
        models, every = self.model_of(silver, recorded), self.every(silver, recorded)
        found = []
        for model in {None, *models}:
            by = np.array([each == model for each in models], bool)
            for all_ in (False, True):
                rows = silver.filter(pl.Series(by & (every == all_), dtype=pl.Boolean()))
                rows = rows.drop(MODEL) if model is None else rows
                decider = Decider(
                    self.stream.id,
                    self.stream.key,
                    at,
                    reads,
                    every=all_,
                    model=None if model == UNNAMED else model,
                    versions=partial(self.versions, recorded=recorded),
                )
                mine = alerts.join(rows.select(_PLACE), on=_PLACE, how="semi")
                found.append(decider.decide(rows, mine.sort(*_PLACE, "rule_id")))
        made = pl.concat(found)
        if not older:
            return made
        hits = [
            each
            and [
                {**hit, "values": older.get((partition, offset, hit["rule_id"]), hit["values"])}
                for hit in each
            ]
            for partition, offset, each in made.select(*_PLACE, "hits").iter_rows()
        ]
        return made.with_columns(pl.Series("hits", hits, made.schema["hits"]))


def _is_of(one: Told, other: Told) -> bool:
    return one.text == other.text and one.offsets == other.offsets
