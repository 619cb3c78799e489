"""What every flow needs to know, whatever it does with its topics."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from flows.privacy_settings import PrivacySettings
from flows.registry_settings import RegistrySettings
from flows.roles import granted
from flows.slices import Slice
from flows.streams.settings import Duration
from operators.connectors.delta.paths import check_root

_ROLE = (
    "what who runs `millstream dlq` and `tables retain` may do, with commas between: `viewer`, "
    "`operator`, `approver`; without it, all three; a flow needs none"
)


class FlowSettings(RegistrySettings, PrivacySettings):
    """What every flow needs to know; each is MILLSTREAM_ and its name."""

    delta_root: str = Field(
        min_length=1,
        description="path or s3://, abfss://, gs:// URL; credentials are the clouds' own "
        "variables",
    )
    backfill_from: str | None = Field(
        None,
        min_length=1,
        description="the root of tables whose bronze is read before the topic: the flow makes "
        "its tables anew under another root, and sends nothing ([Backfill](backfill.md))",
    )
    backfill_silver_alone: bool = Field(
        False,
        description="with that: only `silver/…` and its duplicates are made anew, no windows and "
        "no rules run",
    )
    backfill_of: Literal["bronze", "topic"] = Field(
        "bronze",
        description="with that: or `topic`, whose records are read from its beginning, where there "
        "is no bronze",
    )
    backfill_to: datetime | None = Field(
        None,
        description="with that, an ISO time: bronze is read as far as what happened before it "
        "takes, and nothing of the topic",
    )
    kafka: dict[str, str] = Field(description="librdkafka settings")
    start: str | datetime = Field(
        "earliest",
        description="or `latest`, or an ISO time: where the first start begins, with neither "
        "recovery state nor tables",
    )
    stop_at_end: bool = Field(
        False,
        description="read what is there and end as SIGTERM does: windows stay open, and the "
        "next run goes on",
    )
    close_windows_at_end: bool = Field(
        False,
        description="with that: take the topic's end for the end of all event time and close "
        "every window (backfills); no later run takes another record",
    )
    batch_size: int = Field(
        20_000, ge=1, le=1_000_000, description="records per call at the most"
    )
    start_timeout: Duration = Field(
        timedelta(seconds=60),
        description="how long to wait for Kafka, Redis and the registry at the start; then the "
        "process ends with 1",
    )
    report_every: Duration = Field(
        timedelta(seconds=60),
        description="how often a flow says in its log how far it is; `0s` never",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="or `json`: an object a line ([logs](operations.md#logs))"
    )
    stall_timeout: Duration = Field(
        timedelta(minutes=5),
        description="after how long without the end of an epoch (and an epoch's length more) a "
        "process writes its threads' stacks to the log and ends with 75; a start, where it "
        "waits for others of its cluster, and the first epoch have ten times as long; `0s` never",
    )
    slice: str = Field(
        "0/1",
        description="which of how many slices of the alerts or the enforce flow this process is, "
        "`0/3` to `2/3` of three: it reads every third partition, and shares nothing but tables "
        "and topics with the others ([slices](operations.md#slices))",
    )
    role: str = Field("", description=_ROLE)

    @property
    def share(self) -> Slice:
        """The slice."""
        return Slice.parse(self.slice)

    @field_validator("slice")
    @classmethod
    def _slice(cls, value: str) -> str:
        Slice.parse(value)
        return value

    @field_validator("start")
    @classmethod
    def _start(cls, value: str | datetime) -> str | datetime:
        if value in ("earliest", "latest"):
            return value
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("must be earliest, latest or an ISO 8601 time") from None
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    @field_validator("backfill_silver_alone")
    @classmethod
    def _backfill_silver_alone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("backfill_from", True):
            raise ValueError("needs MILLSTREAM_BACKFILL_FROM: a flow makes all of its tables")
        return value

    @field_validator("backfill_to")
    @classmethod
    def _backfill_to(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        if value is None:
            return None
        if not info.data.get("backfill_from", True):
            raise ValueError("needs MILLSTREAM_BACKFILL_FROM: a flow has no end")
        if info.data.get("backfill_of") == "topic":
            raise ValueError(
                "needs bronze: where a time ends in the topic only its tables tell"
            )
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    @field_validator("close_windows_at_end")
    @classmethod
    def _close_windows_at_end(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("stop_at_end", True):
            raise ValueError(
                "needs MILLSTREAM_STOP_AT_END=true: a flow that does not stop has no end to take "
                "for the end of event time"
            )
        return value

    @field_validator("role")
    @classmethod
    def _role(cls, value: str) -> str:
        granted(value)
        return value

    @field_validator("delta_root", "backfill_from")
    @classmethod
    def _root(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            check_root(value)
            if value == info.data.get("delta_root"):
                raise ValueError("is MILLSTREAM_DELTA_ROOT too: tables are made anew elsewhere")
        return value

    @field_validator("kafka")
    @classmethod
    def _kafka(cls, value: dict[str, str]) -> dict[str, str]:
        if not value.get("bootstrap.servers"):
            raise ValueError("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is missing")
        return value
