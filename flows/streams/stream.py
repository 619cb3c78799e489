"""Streams: what the records of a topic are and what is made of them, as one declaration."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

import schemas
from flows.stream_names import quarantine_of
from flows.streams.columns import NOTED, noted_columns, record_columns
from flows.streams.fixtures import fixture_of
from flows.streams.more_tables import Watched, bronze_table, merged_table, quarantine_table
from flows.streams.settings import StreamSettings, named_settings
from flows.streams.upkeep import Upkeep
from flows.streams.window_tables import table_of_windows
from operators.changes import Changes
from operators.decisions.columns import decision_table
from operators.features import (
    WOKEN,
    Coded,
    Feature,
    Features,
    Former,
    Source,
    load_features,
)
from operators.model import SCORE, Model
from operators.records.tables import (
    COORDINATES,
    MISSED,
    STAMPS,
    TIME,
    Ledger,
    Table,
    duplicate_columns,
    late_columns,
)
from operators.rules.cases import Fixture
from operators.rules.lists import LISTED
from operators.rules.rule import alert_columns
from operators.windows import Windows


@dataclass(frozen=True)
class Stream(Watched):
    """A topic of records of one schema, and the tables and messages that come of it.

    An event is known by its `id` column and its hour; alerts are keyed by the `key` column, as
    the topic should be. Its contract is ``schemas/<record>/contract.yaml``. `windows` are by the
    names of their steps and tables; their lateness is a setting. `rules` is a folder of rules,
    whose cases describe events by what differs from `example`; features are in its folder
    ``features``, unless they are `stated`, those as code in `coded`; `added` are those of whoever
    runs it. `former` is what a state of features of version 2 held. `told` are further texts by
    which late records are told. Tables are named by rule: `tables` has those that are not, by what
    they are; a quarantine always is. `amount` is the column with the money at stake, in minor
    units. `labelled` is the stream of labels of its events, which is `judged`: silver tells from
    when each counts. `model` scores events; what is `scored` has scores of one that is not at hand.
    One that `decides` makes decisions of its rules' hits, by thresholds beside them. A stream that
    is not `alone` is read by a flow of several, and has no bronze. One of `changes` has rows of
    these fields, and a table of what they come to; its id is its key.
    """

    name: str
    record: str
    id: str
    key: str
    windows: Mapping[str, Windows] = field(default_factory=dict)
    rules: Path | None = None
    stated: tuple[Feature, ...] | None = None
    coded: tuple[Coded, ...] = ()
    added: tuple[Feature, ...] = ()
    former: Former | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    upkeep: Mapping[str, Upkeep] = field(default_factory=dict)
    amount: str | None = None
    labelled: "Stream | None" = None
    lists: tuple[str, ...] = ()
    controlled: bool = False
    judged: bool = False
    model: Model | None = None
    scored: bool = False
    decides: bool = False
    settings: type[StreamSettings] = StreamSettings
    alone: bool = True
    changes: Changes | None = None

    def own_settings(self) -> dict[str, Any]:
        """Return the settings that are as its name is, unless something else is said."""
        return named_settings(self.name) | {"rules": self.rules}

    @property
    def setting_names(self) -> list[str]:
        """The names of the settings that mean something for it."""
        of_rules = {"alerts_topic", "send_alerts", "rules", "control_topic", "model"}
        without = set() if self.rules else of_rules
        without |= set() if self.decides else {"decisions_topic", "decisions"}
        without |= set() if self.alone else {"consumer_group"}
        without |= set() if self.windows or not self.alone else {"allowed_lateness"}
        without |= {"dedup_ttl"} if self.changes else set()
        return [name for name in self.settings.model_fields if name not in without]

    @cached_property
    def noted(self) -> dict[str, pl.DataType]:
        """The columns of what was left over, repaired or warned of; raises ContractError."""
        return noted_columns(self.record, rest=not self.changes)

    @cached_property
    def fields(self) -> dict[str, pl.DataType]:
        """The columns of the record's newest schema."""
        return record_columns(self.record)

    def with_rules(self, folder: Path | None) -> "Stream":
        """Return the stream as it is with the rules of a folder: with the features beside them.

        Raises FeatureError if a file states what is none.
        """
        if folder is None or self.owns(folder):
            return self
        taken = {*self.taken, *self.features.columns}
        added = load_features(folder / "features", self.source, taken, self.features)
        return replace(self, added=added)

    @property
    def unlabelled(self) -> "Stream":
        """The stream without its features from labels."""
        if self.features.labels is None:
            return self
        some = [
            [e for e in each if not e.of_labels] for each in (self.features.stated, self.added)
        ]
        return replace(self, stated=tuple(some[0]), added=tuple(some[1]))

    @property
    def taken(self) -> set[str]:
        """The columns of silver that no feature as data may be: neither a field's nor one's."""
        coded = {name for code in self.coded for name in code.columns}
        return {"watermark", WOKEN, SCORE, "event_date", *NOTED, LISTED, *STAMPS, *coded}

    def owns(self, folder: Path) -> bool:
        """Tell whether a folder is that of the stream's own rules."""
        return self.rules is not None and folder.resolve() == self.rules.resolve()

    @property
    def source(self) -> Source:
        """What features may be made of."""
        nullable = {
            field["name"]
            for field in schemas.latest(self.record)["fields"]
            if isinstance(field["type"], list)
        }
        columns = {**COORDINATES, "kafka_timestamp": TIME, **self.fields}
        labels = self.labelled.source if self.labelled else None
        return Source(columns, frozenset({"kafka_timestamp", *nullable}), self.key, labels)

    @cached_property
    def features(self) -> Features:
        """What is added to each record from those before it.

        Raises FeatureError if a file states what is none.
        """
        stated = self.stated
        if stated is None:
            folder = self.rules and self.rules / "features"
            code = Features(self.source, (), self.coded)
            stated = load_features(folder, self.source, self.taken, code) if folder else ()
        return Features(self.source, stated, self.coded, self.added, self.former)

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """What silver has of each record, but for the date: all that rules may use."""
        return {
            **COORDINATES,
            "kafka_timestamp": TIME,
            **(self.changes.columns(self.fields) if self.changes else self.fields),
            **self.noted,
            "watermark": TIME,
            **(self.features.marks or ({WOKEN: TIME} if self.judged else {})),
            **self.features.columns,
            **({SCORE: pl.Float64()} if self.model or self.scored else {}),
            **self.listing,
        }

    @property
    def listing(self) -> dict[str, pl.DataType]:
        """What silver has of each record as it was when rules looked at it."""
        return {LISTED: pl.String()} if self.controlled and self.lists else {}

    @property
    def featured(self) -> dict[str, pl.DataType]:
        """The columns without those, and before a model scores them."""
        behind = {SCORE, *self.listing}
        return {name: kind for name, kind in self.columns.items() if name not in behind}

    @cached_property
    def bronze(self) -> Table:
        """Every record as ingested."""
        return bronze_table(self._table("bronze", f"bronze/{self.name}"), self.privacy)

    @cached_property
    def silver(self) -> Table:
        """The good records, each event once."""
        fractions = [n for n, dtype in self.columns.items() if dtype == pl.Float64()]
        return Table(
            self._table("silver", f"silver/{self.name}"),
            {**self.columns, "event_date": pl.Date()},
            partition_by=("event_date",),
            scattered=(self.id, *(name for name in fractions if name not in self.fields)),
        )

    @cached_property
    def duplicates(self) -> Table:
        """The records of events that silver has already."""
        name = self._table("duplicates", f"silver/{self.record}_duplicates")
        columns = duplicate_columns(self.id, timed=not self.alone)
        return Table(name, columns, scattered=(self.id,))

    @cached_property
    def quarantine(self) -> Table:
        """The records that were refused."""
        return quarantine_table(quarantine_of(self.name), self.privacy)

    @cached_property
    def merged(self) -> Table:
        """What its changes come to."""
        name = self._table("merged", f"gold/{self.name}")
        return merged_table(name, self.changes, self.fields)

    @cached_property
    def alerts(self) -> Table:
        """What the rules have found."""
        name = self._table("alerts", f"gold/{self.record}_alerts")
        return Table(name, alert_columns(self.id, self.key), scattered=(self.id,))

    @cached_property
    def decisions(self) -> Table:
        """What was decided: on those that were not plainly approved, or on all."""
        name = self._table("decisions", f"gold/{self.record}_decisions")
        return decision_table(name, self.id, self.key)

    @cached_property
    def late_by(self) -> tuple[str, ...]:
        """The texts by which late records are told."""
        return (self.id, *self.told)

    @cached_property
    def late(self) -> Table:
        """The records that were late for a window."""
        name = self._table("late", f"gold/late_{self.name}")
        told, key = late_columns(self.late_by, MISSED), (*COORDINATES, "step", "window_start")
        return Table(name, told, compared=key, scattered=(self.id,))

    def windowed(self, lateness: int) -> dict[str, Windows]:
        """Return the windows by name, with their lateness in µs."""
        return {name: replace(each, lateness=lateness) for name, each in self.windows.items()}

    def window_table(self, name: str) -> Table:
        """Return the table of the windows of this name."""
        return table_of_windows(
            self._table(name, f"gold/{name}"), self.windows[name], self.columns
        )

    @cached_property
    def all_tables(self) -> list[Table]:
        """Every table of the stream."""
        found = [*([self.bronze] if self.alone else []), *self.watched, *self.ledger.counted]
        if self.changes:
            return [*found, self.merged]
        found += [self.alerts] if self.rules else []
        found += [self.decisions] if self.decides else []
        if self.windows:
            found.append(self.late)
        return [*found, *map(self.window_table, self.windows)]

    @cached_property
    def ledger(self) -> Ledger:
        """The tables that have each record of the topic once, by what they are."""
        bronze = self.bronze if self.alone else None
        repeated = None if self.changes else self.duplicates
        others = (self.alerts,) if self.rules else ()
        return Ledger(bronze, self.silver, repeated, self.quarantine, others)

    @property
    def past(self) -> dict[str, pl.DataType]:
        """What silver has of each record that features and windows are worked out from."""
        added = self.features.columns
        return {name: kind for name, kind in self.featured.items() if name not in added}

    @property
    def fixture(self) -> Fixture:
        """What the cases of the rules are played with."""
        return fixture_of(self)
