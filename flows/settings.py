"""Settings: read once from the environment, checked all at once, passed down."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, field_validator

from flows.apart import same_folders, same_topics
from flows.enforced.settings import EnforceSettings
from flows.environment import ENFORCE_PREFIX as ENFORCE_PREFIX
from flows.environment import PREFIX as PREFIX
from flows.environment import SettingsError as SettingsError
from flows.environment import parsed, values_of
from flows.environment import refuse as refuse
from flows.flow_settings import FlowSettings
from flows.kafka_settings import kafka_problems, kafka_settings
from flows.privacy_settings import PrivacySettings
from flows.registry_settings import registry_settings as registry_settings
from flows.secret_files import read_secrets
from flows.streams import PAYMENTS, STREAMS, Stream
from flows.streams.models import with_model
from flows.streams.settings import OWN, StreamSettings
from operators.connectors.redis.url import check_redis_url


class Settings(FlowSettings, StreamSettings):
    """What all flows of streams need to know, and that of payments.

    `streams` has what is set of the others, by name; see `of`.
    """

    redis_url: SecretStr = Field(
        description="redis://, rediss:// or unix:// URL; what is in a password is "
        "percent-encoded, `?ssl_ca_certs=` names a private CA; its user needs `+eval +info +get "
        "+set +pexpire +hget +hmget +hset ~millstream:*`, and `+select` for a database other "
        "than 0"
    )
    key_groups: int = Field(
        16, ge=1, le=256, description="with another number state is made anew from the tables"
    )
    streams: dict[str, StreamSettings] = Field(default_factory=dict)

    def of(self, stream: Stream) -> StreamSettings:
        """Return the settings of a stream."""
        return self if stream.name == PAYMENTS.name else self.streams[stream.name]

    def stream(self, declared: Stream) -> Stream:
        """Return a stream with what is added to it beside its rules, and its model."""
        own = self.of(declared)
        if own.control_topic is not None:
            declared = replace(declared, controlled=True)
        return with_model(declared.with_rules(own.rules), own.model)

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        check_redis_url(value.get_secret_value())
        return value


_COMMON: Final = [n for n in Settings.model_fields if n not in ("kafka", "streams")]
_KAFKA: Final = f"{PREFIX}KAFKA_"


def load(environ: Mapping[str, str] | None = None, recovery: Path | None = None) -> Settings:
    """Read the settings; raises SettingsError naming all that are missing or wrong.

    `recovery` is the flow's recovery directory, which may be none of the settings' folders.
    """
    environ, problems = read_secrets(os.environ if environ is None else environ)
    problems += unknown(environ)
    given = PAYMENTS.own_settings() | values_of(environ, PREFIX, _COMMON)
    settings = parsed(Settings, PREFIX, {**given, "kafka": kafka_settings(environ)}, problems)
    streams: dict[str, StreamSettings] = {}
    for each in STREAMS[1:]:
        prefix, declared = prefix_of(each), each.settings.model_fields
        inherited = {
            name: value
            for name, value in given.items()
            if name in StreamSettings.model_fields
            and name not in OWN
            # What the stream declares otherwise stays as it declares it.
            and declared[name].default == StreamSettings.model_fields[name].default
        }
        own = values_of(environ, prefix, each.setting_names)
        values = inherited | each.own_settings() | own
        # What is wrong with an inherited one was said of payments.
        found = parsed(each.settings, prefix, values, problems, own)
        if found is not None:
            streams[each.name] = found
    problems += [*kafka_problems(environ), *_not_apart(environ, recovery)]
    if problems or settings is None:
        raise SettingsError("\n".join(problems))
    return settings.model_copy(update={"streams": streams})


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is no setting of any flow."""
    known = {PREFIX + name.upper() for name in _COMMON}
    known |= {ENFORCE_PREFIX + name.upper() for name in EnforceSettings.model_fields}
    known |= {prefix_of(each) + n.upper() for each in STREAMS for n in each.setting_names}
    return [
        f"{name}: there is no such setting"
        for name in sorted(environ)
        if name.startswith(PREFIX) and not name.startswith(_KAFKA) and name not in known
    ]


def declared(stream: Stream, environ: Mapping[str, str] | None = None) -> StreamSettings:
    """Return what is declared of a stream or set in the environment, whatever else is missing.

    For tools that need no broker; raises SettingsError.
    """
    environ = os.environ if environ is None else environ
    own = values_of(environ, prefix_of(stream), stream.setting_names)
    problems: list[str] = []
    found = parsed(
        stream.settings, prefix_of(stream), stream.own_settings() | own, problems, own
    )
    if found is None:
        raise SettingsError("\n".join(problems))
    return found


def privacy_settings() -> PrivacySettings:
    """Return the keys that are set, whatever else is missing; raises SettingsError."""
    problems: list[str] = []
    given = values_of(os.environ, PREFIX, PrivacySettings.model_fields)
    found = parsed(PrivacySettings, PREFIX, given, problems)
    if found is None:
        raise SettingsError("\n".join(problems))
    return found


def prefix_of(stream: Stream) -> str:
    """Return what the variables of a stream's settings begin with."""
    return PREFIX if stream.name == PAYMENTS.name else f"{PREFIX}{stream.name.upper()}_"


def _not_apart(environ: Mapping[str, str], recovery: Path | None) -> list[str]:
    """Compare what is given, or the default, whatever else is wrong."""
    topics: list[tuple[str, str]] = []
    for kind in ("topic", "alerts_topic", "decisions_topic", "dlq_topic", "control_topic"):
        for each in STREAMS:
            if kind in each.setting_names:
                variable = prefix_of(each) + kind.upper()
                topic = environ.get(variable, each.own_settings().get(kind))
                if topic is not None:
                    topics.append((variable, topic))
    folders = {
        prefix_of(each) + "RULES": environ.get(prefix_of(each) + "RULES", str(each.rules))
        for each in STREAMS
        if each.rules
    }
    registry = f"{PREFIX}SCHEMA_REGISTRY"
    folders[registry] = environ.get(registry, "")
    return [
        *same_topics(dict(topics)),
        *same_folders(environ.get(f"{PREFIX}DELTA_ROOT", ""), recovery, folders),
    ]
