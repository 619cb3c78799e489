"""Settings of a stream: what its flow needs to know, beside what all flows do."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(value: Any) -> Any:
    """Turn 500ms, 30s, 5m, 2h or 7d into a timedelta."""
    if not isinstance(value, str):
        return value
    number = value.rstrip("smhd")
    unit = _UNITS.get(value[len(number) :])
    try:
        if unit is None:
            raise ValueError
        duration = timedelta(seconds=float(number) * unit)
        if duration < timedelta(0):
            raise ValueError
        return duration
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is no duration such as 500ms, 30s, 5m, 2h or 7d") from None


def parse_duration(text: str) -> timedelta:
    """Return what 500ms, 30s, 5m, 2h or 7d says; raises ValueError."""
    found: timedelta = _duration(text)
    return found


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _topic(name: Any) -> Any:
    """Refuse a name that Kafka has no topic of."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", str(name)) or name in (".", ".."):
        raise ValueError(
            f"{name!r} is no topic's name: letters, digits, '.', '_' and '-' alone"
        )
    return name


Topic = Annotated[str, BeforeValidator(_topic)]

Group = Annotated[
    str,
    Field(
        min_length=1,
        description="offsets are committed to it for lag tools; they never decide where the "
        "flow starts",
    ),
]

RejectRun = Annotated[
    int,
    Field(
        ge=0,
        description="of a partition, as the ratio: so many records in a row that are refused pause "
        "it, also across a restart; `0` turns that off, and so does a ratio of 1",
    ),
]
RejectRatio = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="of 1,000 records of a partition; beyond it that is paused, but for 100 "
        "records now and then that tell whether it is over; a run with `STOP_AT_END` ends with 1",
    ),
]


class StreamSettings(BaseModel):
    """What the flow of a stream needs to know of it.

    Each field is MILLSTREAM_, the stream's name, and its own in capitals; of payments, the first
    stream, without the name. What is not set there and not declared in a subclass is as for
    payments, but for the `OWN` ones.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: Topic = Field(description="what is read")
    alerts_topic: Topic = Field(
        description="where alerts go; no two topics may be the same, nor compacted "
        "(`cleanup.policy`) if flows write to them"
    )
    send_alerts: bool = Field(
        True,
        description="`false` where the alerts flow sends them: the flow then reads twice a "
        "second",
    )
    decisions_topic: Topic = Field(description="where decisions go, wherever alerts are sent")
    decisions: Literal["notable", "all"] = Field(
        "notable",
        description="of which events there are decisions, in the table and the topic: `notable` "
        "ones, which are not plainly approved, or `all`",
    )
    dlq_topic: Topic = Field(description="where dead letters go")
    consumer_group: Group
    rules: Path | None = Field(
        None,
        description="a folder of rules, and in its `features/` features beside the stream's own",
    )
    control_topic: Topic | None = Field(
        None,
        description="a compacted topic of one partition that changes rules, lists and thresholds "
        "while flows run; it is made if need be",
    )
    model: Path | None = Field(
        None,
        description="an ONNX file with its card beside it, which scores each event "
        "(`model_score`); needs the extra `model`",
    )
    out_of_orderness: Duration = Field(
        timedelta(seconds=30),
        description="how far the watermark stays behind the largest event time; another one "
        "counts from the next record on",
    )
    allowed_lateness: Duration = Field(
        timedelta(0),
        description="how long windows stay open behind their end, and sessions behind each "
        "record; one for all rows of a table ([Upgrades](upgrades.md))",
    )
    idle_timeout: Duration = Field(
        timedelta(seconds=60),
        description="when a partition that is read to its end and brings no events stops "
        "holding the others back",
    )
    alignment: Duration = Field(
        timedelta(hours=1),
        description="how far, in Kafka timestamps, a partition is read ahead of another of its "
        "process that has more to read; `0s` turns it off",
    )
    future_bound: Duration = Field(
        timedelta(minutes=5),
        description="how far an event may be ahead of its Kafka timestamp",
    )
    dedup_ttl: Duration = Field(
        timedelta(days=7), description="how long Redis keeps the ids of an hour"
    )
    max_reject_ratio: RejectRatio = 0.5
    max_reject_run: RejectRun = 500

    @field_validator("rules")
    @classmethod
    def _rules(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"{value} is no folder")
        return value

    @field_validator("model")
    @classmethod
    def _model(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"{value} is no file")
        return value


OWN: Final = (
    "topic", "alerts_topic", "send_alerts", "decisions_topic", "decisions", "dlq_topic",
    "consumer_group", "rules", "control_topic", "model",
)  # fmt: skip
"""The settings that no stream has from another."""


def named_settings(stream: str) -> dict[str, Any]:
    """Return the settings that are as a stream is called."""
    return {
        "topic": stream,
        "alerts_topic": f"{stream}.alerts",
        "decisions_topic": f"{stream}.decisions",
        "dlq_topic": f"{stream}.dlq",
        "consumer_group": f"millstream-{stream}",
    }
