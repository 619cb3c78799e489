"""What the registry has of the schemas here, and what it has besides."""

from dataclasses import dataclass
from typing import Final

import schemas
from flows import settings as settings_
from flows.registry_settings import RegistrySettings
from flows.streams import STREAMS
from operators.connectors.registry import schema_source as registry
from ops.schemas.folder import digest
from schemas import AvroSchema

_MISSING: Final = (
    "MILLSTREAM_SCHEMA_REGISTRY is no registry's URL: set it to http:// or https:// of one, "
    "such as that of `millstream local up`"
)


def where() -> tuple[str, RegistrySettings]:
    """Return the registry's URL and its settings; raises SettingsError if there is none."""
    settings = settings_.registry_settings()
    url = settings.schema_registry.get_secret_value()
    if not registry.is_registry(url):
        raise settings_.SettingsError(_MISSING)
    return url, settings


def topics() -> dict[str, str]:
    """Return the topic of each record, as declared or set."""
    return {each.record: settings_.declared(each).topic for each in STREAMS}


@dataclass(frozen=True)
class Row:
    """One version, here or in the registry or in both; `local_id` is its id without one."""

    record: str
    version: int | None
    local_id: int | None
    subject: str
    registry_version: int | None = None
    registry_id: int | None = None


def rows(found: dict[str, dict[int, tuple[int, AvroSchema]]]) -> list[Row]:
    """Return every packaged version, beside what a registry has of each record."""
    made = []
    for record, topic in topics().items():
        there = {digest(schema): (v, i) for v, (i, schema) in found.get(record, {}).items()}
        subject = f"{topic}-value"
        for version in schemas.versions(record):
            known = there.pop(digest(schemas.load(record, version)), (None, None))
            local = schemas.local_id(record, version)
            made.append(Row(record, version, local, subject, *known))
        made += [Row(record, None, None, subject, *known) for known in there.values()]
    return made


def ask(url: str, settings: RegistrySettings) -> dict[str, dict[int, tuple[int, AvroSchema]]]:
    """Return what the registry has, by record; raises RegistryUnavailableError and ValueError."""
    config = settings.registry_config
    return {
        record: registry.published(url, config, topic) for record, topic in topics().items()
    }
