"""Where a flow's schemas come from, by its settings."""

from typing import Final

from flows.flow_settings import FlowSettings
from flows.settings import PREFIX, SettingsError
from flows.told import told
from operators.avro import Lookup
from operators.connectors.registry import schema_source as registry

_KEPT: Final = "schemas"


def open_registry(settings: FlowSettings) -> Lookup:
    """Return the function that finds schemas by their ids.

    What it finds is kept beside the recovery store. Raises SettingsError, and
    RegistryUnavailableError if the registry is not there in time.
    """
    directory = told().recovery
    try:
        return registry.open_registry(
            settings.schema_registry.get_secret_value(),
            settings.registry_config,
            kept=None if directory is None else directory / _KEPT,
            timeout=settings.start_timeout.total_seconds(),
        )
    except ValueError as error:
        raise SettingsError(f"{PREFIX}SCHEMA_REGISTRY: {error}") from error
