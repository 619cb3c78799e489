"""Settings of the enforce flow, beside those that all flows have."""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.streams.settings import Duration, Group, RejectRatio, RejectRun


class EnforceSettings(BaseModel):
    """What the enforce flow needs to know; each is MILLSTREAM_ENFORCE_ and its name.

    What is not set and a stream has too is as for payments.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    folder: Path = Field(
        description="a folder for each topic: its `contract.yaml` and the versions of its schema "
        "([Enforce](enforce.md))"
    )
    consumer_group: Group = "millstream-enforce"
    future_bound: Duration = Field(
        timedelta(minutes=5),
        description="how far a time that a contract bounds may be ahead of its Kafka timestamp",
    )
    max_reject_ratio: RejectRatio = 0.5
    max_reject_run: RejectRun = 500

    @field_validator("folder")
    @classmethod
    def _folder(cls, value: Path) -> Path:
        if not value.is_dir():
            raise ValueError(f"{value} is no folder")
        return value
