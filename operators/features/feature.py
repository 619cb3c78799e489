"""A feature as its file states it: what each event is told of the earlier events of its key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl
from polars.exceptions import PolarsError
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from operators.columns.expressions import one_row
from operators.columns.hashing import can_be_key
from operators.records.tables import TIME

Aggregate = Literal[
    "count", "sum", "mean", "stddev", "share", "min", "max", "distinct", "first_time", "last_time",
    "seconds_since", "seconds_since_first",
]  # fmt: skip

TIMES: Final = ("first_time", "last_time", "seconds_since", "seconds_since_first")
_COLUMNLESS: Final = ("count", "share", *TIMES)
_OF_LABELS: Final = ("count", "sum", "mean", "stddev", "share", *TIMES)

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST: Final = 100_000 * _UNITS["d"]


def _micros(text: str) -> int:
    """Return a duration such as 30s, 10m, 24h or 7d in µs; raises ValueError for other text."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if not (number.isascii() and number.isdigit() and unit and int(number)):
        raise ValueError(f"{text!r} is no time such as 30s, 10m, 24h or 7d")
    if int(number) * unit > _LONGEST:
        raise ValueError(f"{text!r} is longer than {_LONGEST // _UNITS['d']:,} days")
    return int(number) * unit * 1_000_000


@dataclass(frozen=True)
class Source:
    """What features may be made of: the columns of a stream's events before any feature.

    `columns` has their types, `nullable` those that may be null; `key` is the column by which the
    topic's records are spread over its partitions. `labels` is what labels of the events have, if
    there are any.
    """

    columns: Mapping[str, pl.DataType]
    nullable: frozenset[str]
    key: str
    labels: "Source | None" = None

    def having(self, more: Mapping[str, pl.DataType]) -> "Source":
        """Return it with further columns, which may be null."""
        columns = {**self.columns, **more}
        return Source(columns, self.nullable | more.keys(), self.key, self.labels)


PANES: Final = tuple(
    size * 1_000_000 for size in (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400)
)
"""How long in µs the panes may be that a horizon is cut into."""

_FEWEST, _MOST = 10, 120
_FRESH: Final = 6 * _UNITS["h"] * 1_000_000
_LONGEST_OF_LABELS: Final = 400 * _UNITS["d"] * 1_000_000


def pane_of(horizon: int) -> int:
    """Return how long the panes of a horizon are, in µs: the longest that it has ten or more of."""
    fitting = [size for size in PANES if horizon % size == 0 and horizon >= _FEWEST * size]
    return max(fitting, default=PANES[0])


class Feature(BaseModel):
    """A column, as a function of the earlier events of the same key in the same partition.

    `by` are the columns that make a key, the first of them the stream's. With a `horizon` the
    events count that have come with a time in the horizon up to the present event's, as long as
    the watermark has not passed them by more than `kept`, which is the horizon unless stated.
    Without one all count that came, until the key is forgotten: when it had none for one to two
    periods of 90 days. Of them those count for which `where`, SQL over one event, is true.

    `inclusive` tells whether the present event is one of them. Unless stated it is within a
    horizon and else not, and never for the times.

    `where` and `of` may be of other features too, as each event has them: see `levels`.

    Where `by` begins with another column, the events of all partitions count, as of the event's
    time less a `lag`: see `by_another`. So do labels, where it is `from` these: each from when it
    became known until the same event has a newer one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    version: int = Field(ge=1)
    description: str = Field(min_length=1)
    of_labels: Literal["labels"] | None = Field(None, alias="from")
    by: tuple[str, ...] = Field(min_length=1)
    aggregate: Aggregate
    of: str | None = None
    where: str | None = None
    horizon: str | None = None
    kept: str | None = None
    lag: str | None = None
    inclusive: bool | None = None

    @field_validator("by", mode="before")
    @classmethod
    def _one_column(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("horizon", "kept", "lag")
    @classmethod
    def _time(cls, given: str | None) -> str | None:
        if given is not None:
            _micros(given)
        return given

    @field_validator("where")
    @classmethod
    def _of_one_row(cls, given: str | None) -> str | None:
        if given is not None:
            try:
                one_row(given)
            except PolarsError as error:
                raise ValueError(str(error).splitlines()[0]) from None
        return given

    @model_validator(mode="after")
    def _together(self) -> "Feature":
        if (self.of is None) != (self.aggregate in _COLUMNLESS):
            raise ValueError(
                f"{self.aggregate} is of {'a' if self.of is None else 'no'} column"
            )
        if self.aggregate == "share" and self.where is None:
            raise ValueError("share is of those for which `where` is true, which is missing")
        if self.kept is not None and self.horizon is None:
            raise ValueError("kept is for a feature with a horizon")
        if self.kept_us < self.horizon_us:
            raise ValueError("kept is shorter than the horizon")
        if self.aggregate == "distinct" and self.horizon is None:
            raise ValueError(
                "distinct needs a horizon: over the whole past it would keep every value"
            )
        return self

    @property
    def horizon_us(self) -> int:
        """The horizon in µs, 0 if there is none."""
        return _micros(self.horizon) if self.horizon else 0

    @property
    def kept_us(self) -> int:
        """How long events within the horizon are kept behind the watermark, in µs; 0 as above."""
        return _micros(self.kept) if self.kept else self.horizon_us

    @property
    def lag_us(self) -> int | None:
        """The lag in µs if one is stated."""
        return _micros(self.lag) if self.lag else None

    @property
    def pane_us(self) -> int:
        """How long a pane of the horizon is, in µs; those of labels are of six hours at most."""
        pane = pane_of(self.horizon_us)
        return min(pane, _FRESH) if self.of_labels else pane

    @property
    def includes_itself(self) -> bool:
        """Whether the present event is one of those that count."""
        if self.inclusive is not None:
            return self.inclusive
        return self.horizon is not None and self.aggregate not in TIMES

    @property
    def definition(self) -> str:
        """What its values are a function of, in one line: two of the same give the same."""
        parts = [
            f"{self.aggregate}({self.of or ''})",
            f"by {', '.join(self.by)}",
            f"within {self.horizon_us} kept {self.kept_us}" if self.horizon else "of all",
            "inclusive" if self.includes_itself else "exclusive",
        ]
        parts += [f"where {self.where.strip()}"] if self.where else []
        return " ".join(parts)

    def result(self, columns: Mapping[str, pl.DataType]) -> pl.DataType:
        """Return its column's type."""
        if self.aggregate in ("first_time", "last_time"):
            return TIME
        if self.aggregate in ("mean", "stddev", "share"):
            return pl.Float64()
        if self.aggregate in ("min", "max"):
            return columns[str(self.of)]
        return pl.Int64()

    @property
    def reads(self) -> set[str]:
        """The columns that say which events count, and what for."""
        names = {self.of} if self.of else set()
        return names | set(one_row(self.where).meta.root_names() if self.where else ())

    def problems(
        self, source: Source, others: Mapping[str, pl.DataType] | None = None
    ) -> list[tuple[str, str]]:
        """Return what is wrong with it for a stream's events: the field and the reason.

        `others` are the features that it may read.
        """
        found: list[tuple[str, str]] = []
        of = source.having(others or {})
        if self.of_labels:
            if source.labels is None:
                return [("from", "there are no labels of these events")]
            of = source.labels
            found += self._problems_of_labels(source, of)
        elif self.by[0] != source.key:
            found += self._problems_of_another(source.key)
        elif self.lag is not None:
            found.append(
                ("lag", f"is for features by another key than {source.key}, the topic's")
            )
        for name in self.by:
            dtype = source.columns.get(name)
            if dtype is None:
                found.append(("by", f"the events have no {name}"))
            elif not can_be_key(dtype):
                found.append(("by", f"{name} of type {dtype} can be no key"))
        if self.of is not None:
            problem = self._problem_of(of.columns.get(self.of))
            found += [("of", problem)] if problem else []
        if self.where is not None:
            try:
                kind = pl.DataFrame(schema=of.columns).select(one_row(self.where))
                if kind.dtypes != [pl.Boolean()]:
                    found.append(("where", f"{self.where!r} is no condition"))
            except PolarsError as error:
                found.append(("where", str(error).splitlines()[0]))
        if self.name in source.columns:
            found.append(("name", f"the events have a {self.name} already"))
        return found

    def _problems_of_another(self, key: str) -> list[tuple[str, str]]:
        """Return what is wrong with a feature by another key than the topic's."""
        why = f"by another key than {key}, the topic's, events are of all partitions: "
        if self.aggregate in TIMES:
            return [("aggregate", why + f"there is no {self.aggregate} of them")]
        if self.horizon is None:
            return [("horizon", why + "they are counted within a horizon, which is missing")]
        found = []
        if self.horizon_us // self.pane_us > _MOST:
            text = (
                f"{self.horizon} has too many panes: give a round time, such as 10m, 1h or 7d"
            )
            found.append(("horizon", text))
        if self.inclusive:
            found.append(
                ("inclusive", why + "as of a lag before the present one, never with it")
            )
        return found

    def _problems_of_labels(self, source: Source, labels: Source) -> list[tuple[str, str]]:
        """Return what is wrong with a feature from labels."""
        found = []
        if self.aggregate not in _OF_LABELS:
            text = (
                f"from labels there is no {self.aggregate}: {', '.join(_OF_LABELS)} there are"
            )
            found.append(("aggregate", text))
        if not 0 < self.horizon_us <= _LONGEST_OF_LABELS:
            text = "labels count within a horizon, of 400 days at the most"
            found.append(("horizon", text))
        if self.inclusive:
            found.append(("inclusive", "is of the present event, which is no label"))
        for name in self.by:
            if name in source.columns and labels.columns.get(name) != source.columns[name]:
                found.append(("by", f"labels have no {name} as events have"))
        return found

    def _problem_of(self, dtype: pl.DataType | None) -> str | None:
        if dtype is None:
            return f"the events have no {self.of}"
        if self.aggregate in ("sum", "mean", "stddev") and not dtype.is_integer():
            return (
                f"{self.of} is of type {dtype}, and only the {self.aggregate} of integers is the "
                "same whatever the batches: give whole numbers of a smaller unit"
            )
        if self.aggregate in ("min", "max") and not (dtype.is_numeric() or dtype.is_temporal()):
            return f"{self.of} of type {dtype} has no {self.aggregate}: give a number or a time"
        if self.aggregate == "distinct" and not can_be_key(dtype):
            return f"{self.of} is of type {dtype}, which is not counted by its values"
        return None
