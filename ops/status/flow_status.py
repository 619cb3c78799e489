"""What a status says: of each flow, as plain values that are printed, or given out as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

END: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""The watermark of a flow that was told that no event follows any more."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do about it."""

    problem: str
    to_do: str = ""


@dataclass(frozen=True)
class TopicStatus:
    """How far a flow is in a topic that it reads; offsets are the next ones, by partition.

    `position_of` says who knows the position; `ends` are the last stable offsets, None where the
    brokers do not answer; `lag` is then None as well. `recent` is where begins what came in the
    last minutes.
    """

    topic: str
    position: dict[int, int]
    position_of: str
    ends: dict[int, int] | None = None
    firsts: dict[int, int] = field(default_factory=dict)
    recent: dict[int, int] = field(default_factory=dict)

    def lag_of(self, partition: int) -> int:
        """How many offsets of a partition there are to read."""
        ends = self.ends or {}
        # What retention has deleted cannot be read.
        begins = max(self.position.get(partition, 0), self.firsts.get(partition, 0))
        return max(ends.get(partition, 0) - begins, 0)

    @property
    def lag(self) -> int | None:
        """How many offsets there are to read; None if it is not known."""
        return None if self.ends is None else sum(map(self.lag_of, self.ends))

    @property
    def overdue(self) -> int:
        """How many offsets there are to read of what came some time ago."""
        late = {
            p: self.lag_of(p) - ((self.ends or {})[p] - at) for p, at in self.recent.items()
        }
        return sum(each for each in late.values() if each > 0)

    @property
    def worst(self) -> int | None:
        """The partition that has the most to read, None where all is read."""
        found = max(self.ends or (), key=self.lag_of, default=None)
        return found if found is not None and self.lag_of(found) else None


@dataclass(frozen=True)
class TableStatus:
    """A table of a flow; times are of its newest rows and of the newest that they tell of.

    Of its files so many are small and could be put together.
    """

    table: str
    version: int
    files: int
    to_compact: int
    rows: int
    bytes: int
    committed: datetime | None
    newest: datetime | None


@dataclass(frozen=True)
class CommitStatus:
    """A commit of a flow's rows."""

    at: datetime
    table: str
    version: int
    rows: int
    epoch: int | None
    run: str
    release: str


@dataclass(frozen=True)
class Rate:
    """Records a second, over some seconds until a commit."""

    records_per_second: float
    seconds: float
    until: datetime


@dataclass(frozen=True)
class Mark:
    """The flow's watermark, and the partition that it waits for, `held` for so many seconds.

    `ahead` is by how many seconds the next partition's watermark is further.
    """

    watermark: datetime | None
    topic: str = ""
    partition: int = 0
    held: float | None = None
    ahead: float | None = None


@dataclass(frozen=True)
class Letters:
    """Refused records: all in the quarantine, those of the last hour, and both by code.

    Of several quarantines together, `table` names them all.

    `records` is how many records the tables have had in the last hour, these included.
    """

    table: str
    all: int
    last_hour: int
    codes: dict[str, dict[str, int]]
    records: int


@dataclass(frozen=True)
class FlowStatus:
    """A flow. `state` is running, stopped, unknown, or never run; `command` starts it.

    `health` is what the process at `metrics` says that it is at, if it says so.
    """

    flow: str
    state: str
    command: str
    recovery: str | None = None
    metrics: str | None = None
    health: str | None = None
    topics: list[TopicStatus] = field(default_factory=list)
    rate: Rate | None = None
    mark: Mark | None = None
    tables: list[TableStatus] = field(default_factory=list)
    letters: Letters | None = None
    commits: list[CommitStatus] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def lag(self) -> int | None:
        """How many offsets of all topics there are to read; None if it is not known."""
        lags = [each.lag for each in self.topics]
        return None if None in lags else sum(each for each in lags if each is not None)


@dataclass(frozen=True)
class Status:
    """All flows at a time."""

    at: datetime
    kafka: str
    kafka_away: str | None
    flows: list[FlowStatus]
    problems: list[Problem] = field(default_factory=list)

    @property
    def all_problems(self) -> list[Problem]:
        """Those of everything, with those of flows behind them."""
        return [*self.problems, *(each for flow in self.flows for each in flow.problems)]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, but for times, which are to be made text."""
        return {
            "at": self.at,
            "kafka": {"brokers": self.kafka, "answers": self.kafka_away is None},
            "problems": _plain(self.problems),
            "flows": [_flow(each) for each in self.flows],
        }


def _plain(found: Iterable[Any]) -> list[dict[str, Any]]:
    return [dict(vars(each)) for each in found]


def _flow(flow: FlowStatus) -> dict[str, Any]:
    def one(value: Any) -> dict[str, Any] | None:
        return None if value is None else dict(vars(value))

    topics = [
        {**vars(each), "lag": each.lag, "overdue": each.overdue, "worst": each.worst,
         "worst_lag": None if each.worst is None else each.lag_of(each.worst)}
        for each in flow.topics
    ]  # fmt: skip
    return {
        "flow": flow.flow,
        "state": flow.state,
        "command": flow.command,
        "recovery": flow.recovery,
        "metrics": flow.metrics,
        "health": flow.health,
        "lag": flow.lag,
        "topics": topics,
        "rate": one(flow.rate),
        "watermark": one(flow.mark),
        "tables": _plain(flow.tables),
        "dead_letters": one(flow.letters),
        "commits": _plain(flow.commits),
        "problems": _plain(flow.problems),
    }
