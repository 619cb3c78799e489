"""Settings: read once from the environment, checked all at once, passed down."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.apart import TOPICS, same_folders, same_topics
from flows.kafka_settings import kafka_problems, kafka_settings
from operators.connectors import registry
from operators.connectors.paths import check_root
from operators.connectors.redis_url import check_redis_url

PREFIX = "MILLSTREAM_"
_KAFKA = f"{PREFIX}KAFKA_"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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


_REGISTRY_FILES = tuple(
    f"schema_registry_{name}"
    for name in ("token_file", "ca_location", "certificate_location", "key_location")
)

Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _topic(name: Any) -> Any:
    """Refuse a name that Kafka has no topic of."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", str(name)) or name in (".", ".."):
        raise ValueError(
            f"{name!r} is no topic's name: letters, digits, '.', '_' and '-' alone"
        )
    return name


Topic = Annotated[str, BeforeValidator(_topic)]


class Settings(BaseSettings):
    """What a payments flow needs to know; each field is MILLSTREAM_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    redis_url: SecretStr = Field(description="redis://, rediss:// or unix:// URL")
    delta_root: str = Field(min_length=1, description="path or s3://, abfss://, gs:// URL")
    kafka: dict[str, str] = Field(description="librdkafka settings")
    topic: Topic = "payments"
    alerts_topic: Topic = "payments.alerts"
    send_alerts: bool = True
    dlq_topic: Topic = "payments.dlq"
    chargebacks_topic: Topic = "chargebacks"
    chargebacks_dlq_topic: Topic = "chargebacks.dlq"
    chargebacks_within: Duration = timedelta(days=120)
    chargebacks_out_of_orderness: Duration = timedelta(hours=1)
    chargebacks_idle_timeout: Duration = timedelta(days=1)
    # A secret: its URL may have a password in it.
    schema_registry: SecretStr = SecretStr("")
    schema_registry_user: SecretStr = SecretStr("")
    schema_registry_token: SecretStr = SecretStr("")
    schema_registry_token_file: Path | None = None
    schema_registry_ca_location: Path | None = None
    schema_registry_certificate_location: Path | None = None
    schema_registry_key_location: Path | None = None
    schema_registry_key_password: SecretStr = SecretStr("")
    consumer_group: str = Field("millstream-payments", min_length=1)
    start: str | datetime = "earliest"
    stop_at_end: bool = False
    close_windows_at_end: bool = False
    batch_size: int = Field(20_000, ge=1, le=1_000_000)
    key_groups: int = Field(16, ge=1, le=256)
    out_of_orderness: Duration = timedelta(seconds=30)
    allowed_lateness: Duration = timedelta(0)
    idle_timeout: Duration = timedelta(seconds=60)
    alignment: Duration = timedelta(hours=1)
    future_bound: Duration = timedelta(minutes=5)
    dedup_ttl: Duration = timedelta(days=7)
    start_timeout: Duration = timedelta(seconds=60)
    report_every: Duration = timedelta(seconds=60)
    max_reject_ratio: float = Field(0.5, gt=0, le=1)
    rules: Path = Path(__file__).parent / "rules"

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[Any, ...]:
        """Take what `load` was given alone, not what else the process's environment has."""
        return (sources["init_settings"],)

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

    @field_validator("close_windows_at_end")
    @classmethod
    def _close_windows_at_end(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("stop_at_end", True):
            raise ValueError(
                "needs MILLSTREAM_STOP_AT_END=true: a flow that does not stop has no end to take "
                "for the end of event time"
            )
        return value

    @field_validator("delta_root")
    @classmethod
    def _delta_root(cls, value: str) -> str:
        check_root(value)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        check_redis_url(value.get_secret_value())
        return value

    @field_validator("schema_registry")
    @classmethod
    def _registry(cls, value: SecretStr) -> SecretStr:
        registry.check_url(value.get_secret_value())
        return value

    @field_validator("schema_registry_user")
    @classmethod
    def _registry_user(cls, value: SecretStr) -> SecretStr:
        # A file's last line ends with a line feed, which many a secret store keeps.
        text = value.get_secret_value().strip("\r\n")
        if text and ":" not in text:
            raise ValueError("must be user:password")
        return SecretStr(text)

    @field_validator("schema_registry_token")
    @classmethod
    def _registry_token(cls, value: SecretStr, others: ValidationInfo) -> SecretStr:
        text = value.get_secret_value().strip()
        if text and not (text.isascii() and text.isprintable()):
            raise ValueError("has characters that no token has")
        if text and others.data.get("schema_registry_user"):
            raise ValueError("there is a MILLSTREAM_SCHEMA_REGISTRY_USER too")
        return SecretStr(text)

    @field_validator(*_REGISTRY_FILES, mode="before")
    @classmethod
    def _registry_file(cls, value: Any, others: ValidationInfo) -> Any:
        if not value:
            return None
        path = Path(value)
        if not path.exists():
            raise ValueError(f"there is no file {path}")
        for name, field, there in (
            ("schema_registry_token_file", "schema_registry_user", False),
            ("schema_registry_token_file", "schema_registry_token", False),
            ("schema_registry_key_location", "schema_registry_certificate_location", True),
        ):
            if others.field_name == name and bool(others.data.get(field)) != there:
                raise ValueError(f"there is {'no' if there else 'a'} {PREFIX}{field.upper()}")
        return path

    @field_validator("kafka")
    @classmethod
    def _kafka(cls, value: dict[str, str]) -> dict[str, str]:
        if not value.get("bootstrap.servers"):
            raise ValueError("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is missing")
        return value

    @field_validator("rules")
    @classmethod
    def _rules(cls, value: Path) -> Path:
        if not value.is_dir():
            raise ValueError(f"{value} is no folder")
        return value


class SettingsError(ValueError):
    """The settings cannot be used; the message names every problem."""


def load(environ: Mapping[str, str] | None = None, recovery: Path | None = None) -> Settings:
    """Read the settings; raises SettingsError naming all that are missing or wrong.

    `recovery` is the flow's recovery directory, which may be none of the settings' folders.
    """
    environ = os.environ if environ is None else environ
    problems = []
    known = {PREFIX + name.upper() for name in Settings.model_fields} - {PREFIX + "KAFKA"}
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(_KAFKA) and name not in known:
            problems.append(f"{name}: there is no such setting")
    values = {
        name[len(PREFIX) :].lower(): value for name, value in environ.items() if name in known
    }
    try:
        settings = Settings(kafka=kafka_settings(environ), **values)  # type: ignore[arg-type] # parsed
    except ValidationError as error:
        for each in error.errors():
            name = PREFIX + str(each["loc"][0]).upper()
            text = each["msg"].removeprefix("Value error, ")
            if each["type"] == "missing":
                text = f"is missing ({Settings.model_fields[str(each['loc'][0])].description})"
            problems.append(text if name == f"{PREFIX}KAFKA" else f"{name}: {text}")
    problems += kafka_problems(environ)
    problems += _not_apart(values, recovery)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _not_apart(values: Mapping[str, str], recovery: Path | None) -> list[str]:
    """Compare what is given, or the default, whatever else is wrong."""

    def given(name: str) -> str:
        return values.get(name, str(Settings.model_fields[name].get_default()))

    folders = {PREFIX + name.upper(): given(name) for name in ("rules", "schema_registry")}
    return [
        *same_topics({PREFIX + name.upper(): given(name) for name in TOPICS}),
        *same_folders(values.get("delta_root", ""), recovery, folders),
    ]


def refuse(problem: Exception | str, status: int) -> NoReturn:
    """End the process with a message that a person can act on: 2 settings, 1 the world."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    for line in text.splitlines():
        print(f"millstream: {line}", file=sys.stderr)
    raise SystemExit(status)
