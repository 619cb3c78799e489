"""Settings of a stream: what its flow needs to know, beside what all flows do."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

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


class StreamSettings(BaseModel):
    """What the flow of a stream needs to know of it.

    Each field is MILLSTREAM_, the stream's name, and its own in capitals; of payments, the first
    stream, without the name. What is not set there and not declared in a subclass is as for
    payments, but for the `OWN` ones.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: Topic
    alerts_topic: Topic
    send_alerts: bool = True
    dlq_topic: Topic
    consumer_group: str = Field(min_length=1)
    rules: Path | None = None
    out_of_orderness: Duration = timedelta(seconds=30)
    allowed_lateness: Duration = timedelta(0)
    idle_timeout: Duration = timedelta(seconds=60)
    alignment: Duration = timedelta(hours=1)
    future_bound: Duration = timedelta(minutes=5)
    dedup_ttl: Duration = timedelta(days=7)
    max_reject_ratio: float = Field(0.5, gt=0, le=1)

    @field_validator("rules")
    @classmethod
    def _rules(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"{value} is no folder")
        return value


OWN: Final = ("topic", "alerts_topic", "send_alerts", "dlq_topic", "consumer_group", "rules")
"""The settings that no stream has from another."""
