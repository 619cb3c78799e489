"""Where a flow's schemas come from, by its settings."""

from typing import Final

from flows.settings import PREFIX, Settings, SettingsError
from flows.starting import recovery_directory
from operators.avro import Lookup
from operators.connectors.registry import schema_source as registry

_KEPT: Final = "schemas"


def open_registry(settings: Settings) -> Lookup:
    """Return the function that finds schemas by their ids.

    What it finds is kept beside the recovery store. Raises SettingsError, and
    RegistryUnavailableError if the registry is not there in time.
    """
    directory = recovery_directory()
    try:
        return registry.open_registry(
            settings.schema_registry.get_secret_value(),
            registry_config(settings),
            kept=None if directory is None else directory / _KEPT,
            timeout=settings.start_timeout.total_seconds(),
        )
    except ValueError as error:
        raise SettingsError(f"{PREFIX}SCHEMA_REGISTRY: {error}") from error


def registry_config(settings: Settings) -> dict[str, str]:
    """Return the settings of the registry's client, those that are set."""
    every = {
        "basic.auth.user.info": settings.schema_registry_user.get_secret_value(),
        "bearer.auth.token": settings.schema_registry_token.get_secret_value(),
        "bearer.auth.token.file": settings.schema_registry_token_file,
        "ssl.ca.location": settings.schema_registry_ca_location,
        "ssl.certificate.location": settings.schema_registry_certificate_location,
        "ssl.key.location": settings.schema_registry_key_location,
        "ssl.key.password": settings.schema_registry_key_password.get_secret_value(),
    }
    return {name: str(value) for name, value in every.items() if value}
