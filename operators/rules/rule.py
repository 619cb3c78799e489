"""A rule as its file states it, and the alerts that it makes of events."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal

import polars as pl
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from operators.columns.expressions import one_row, select_rows
from operators.records.tables import COORDINATES
from operators.rules.lists import looked_up, with_lists
from operators.rules.status import EVALUATED, ROLLOUT, Status, parts, standing, statuses

Severity = Literal["low", "medium", "high", "critical"]
Action = Literal["approve", "review", "block"]

OWN_COLUMNS: Final = ("rule_status", "action")
"""The columns of alerts that those of earlier releases do not have."""


def alert_columns(id_column: str, key_column: str) -> dict[str, pl.DataType]:
    """Return an alert's columns; two are the event's own, its id and whom it is about."""
    return {
        "alert_id": pl.String(),
        "rule_id": pl.String(),
        "rule_version": pl.Int32(),
        "rule_status": pl.String(),
        id_column: pl.String(),
        key_column: pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        "severity": pl.String(),
        "action": pl.String(),
        "score": pl.Float64(),
        "reason": pl.String(),
        **COORDINATES,
    }


_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Case(BaseModel):
    """An example: events of one key in order of arrival, and which of them alert.

    `after` is the time since the first one; other fields are the schema's. `alerts` holds
    positions from 1. Of payments the events are called so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    name: str
    events: list[dict[str, Any]] = Field(
        min_length=1, validation_alias=AliasChoices("events", "payments")
    )
    alerts: list[int]


RUNBOOK: Final = r"^(https?://[^\s/]+(/\S*)?|docs/[\w-]+\.md#[\w-]+)$"
"""An address, or a section of a page of the project's own."""


class Bounds(BaseModel):
    """How often a live rule may alert: `over` so much event time, of `at_least` so many events.

    One that alerts on more than `hits_per_1000` pauses itself; one that does on fewer than
    `least_per_1000` has gone silent, which is told.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    hits_per_1000: float = Field(1000, gt=0, le=1000)
    least_per_1000: float = Field(0, ge=0, lt=1000)
    over: str = Field(pattern=r"^[1-9][0-9]{0,4}[mhd]$")
    at_least: int = Field(1000, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Bounds":
        if self.least_per_1000 >= self.hits_per_1000:
            raise ValueError("least_per_1000 is not below hits_per_1000")
        return self

    @property
    def seconds(self) -> int:
        """How many that are."""
        return int(self.over[:-1]) * {"m": 60, "h": 3600, "d": 86400}[self.over[-1]]


class Rule(BaseModel):
    """A rule as its file states it; `when` and `score` are SQL expressions over one event.

    `rollout` is the share of keys that a live one is live for, all if it is None. `action` is what
    is advised of the event. Once it leaves its `bounds` it pauses itself, where a control topic is
    followed. Who answers for it, and what to do about its alerts, is in the file
    alone: that may change at any time, also for alerts that there are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    version: int = Field(ge=1)
    description: str = Field(min_length=1)
    status: Status = "live"
    rollout: str | None = Field(None, pattern=ROLLOUT)
    owner: str | None = Field(None, min_length=1, max_length=100)
    runbook: str | None = Field(None, pattern=RUNBOOK)
    severity: Severity
    action: Action = "review"
    bounds: Bounds | None = None
    when: str
    score: str
    reason: str
    cases: list[Case] = Field(min_length=1)

    @field_validator("rollout")
    @classmethod
    def _somebody(cls, given: str | None) -> str | None:
        if given is not None and not parts(given):
            raise ValueError("for nobody: say so with the status, paused or shadow")
        return given

    @cached_property
    def condition(self) -> pl.Expr:
        """The condition; null (something it needs is unknown) is no match."""
        return one_row(with_lists(self.when)).fill_null(False).alias(self.id)

    @property
    def _scored(self) -> pl.Expr:
        return one_row(with_lists(self.score))

    @cached_property
    def reads(self) -> set[str]:
        """The columns of an event that its alerts are a function of, beside key and coordinates."""
        score = self._scored.meta.root_names()
        return {*self.condition.meta.root_names(), *score, *_PLACEHOLDER.findall(self.reason)}

    @cached_property
    def looked_up(self) -> set[str]:
        """The columns whose values it looks up in lists."""
        return looked_up(self.when) | looked_up(self.score)

    def __eq__(self, other: object) -> bool:
        """Whether the other is stated alike, whatever has been worked out of either by now.

        Models compare what they cache as well, and of two Polars expressions nobody can say
        whether they are equal.
        """
        if not isinstance(other, Rule):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Rule.model_fields)

    @property
    def definition(self) -> str:
        """What its alerts are a function of, but for their status, in one line."""
        text = f"{self.version}: {self.when} | {self.score} | {self.severity} | {self.reason}"
        # As releases before there were actions have written it, which reviewed all.
        return text if self.action == "review" else f"{text} | {self.action}"

    @property
    def evaluated(self) -> bool:
        """Whether flows evaluate it."""
        return self.status in EVALUATED

    @property
    def standing(self) -> str:
        """Its status in a line, with the share of keys that it is live for."""
        return standing(self.status, self.rollout)

    @property
    def details(self) -> dict[str, Any]:
        """What it says of itself, as JSON values."""
        return self.model_dump(
            include={
                "version", "description", "status", "rollout", "owner", "runbook", "severity",
                "action",
            }
        )  # fmt: skip

    def alerts(
        self, hits: pl.DataFrame, columns: Mapping[str, pl.DataType], key: str
    ) -> pl.DataFrame:
        """Return an alert, with `columns` as of `alert_columns`, for each matching event."""
        text = re.sub(r"\{\w+\}", "{}", self.reason)
        names = [
            pl.col(n).cast(pl.String).fill_null("?") for n in _PLACEHOLDER.findall(self.reason)
        ]
        coordinates = [pl.col(n).cast(pl.String) for n in COORDINATES]
        made = {
            # Of the record's coordinates, so that a replay makes the same id again.
            "alert_id": pl.concat_str(
                [pl.lit(f"{self.id}@{self.version}"), *coordinates], separator="/"
            ),
            "rule_id": pl.lit(self.id),
            "rule_version": pl.lit(self.version),
            "rule_status": pl.lit(None),
            "severity": pl.lit(self.severity),
            "action": pl.lit(self.action),
            "score": self._scored.cast(pl.Float64).round(2),
            "reason": pl.format(text, *names) if names else pl.lit(self.reason),
        }
        found = select_rows(
            hits,
            [
                made.get(name, pl.col(name)).cast(dtype).alias(name)
                for name, dtype in columns.items()
            ],
        )
        stands = statuses(self.standing, self.id, found[key]).alias("rule_status")
        return found.replace_column(found.get_column_index("rule_status"), stands)
