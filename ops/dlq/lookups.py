"""Where the schemas of records are found that are looked into."""

import os
from functools import cache
from typing import Any, Final

from flows.enforced.names import folder_of
from flows.environment import PREFIX, SettingsError
from operators.avro import Lookup, SchemaId
from operators.connectors.registry import schema_source as registry
from schemas import AvroSchema

_REGISTRY: Final = f"{PREFIX}SCHEMA_REGISTRY"


def with_own(lookup: Lookup) -> Lookup:
    """Return the function that finds the schemas of enforced topics by their local ids as well."""
    if folder_of() is None:
        return lookup
    # Behind what most runs do not need: what reads topics' files takes a while to import.
    from flows.enforced.loading import enforced, own_schemas

    own = own_schemas(enforced())

    def find(schema_id: SchemaId) -> Any:
        try:
            return own(schema_id)
        except KeyError:
            return lookup(schema_id)

    return find


@cache
def lookup() -> Lookup:
    """Return what finds schemas in the registry that is set, and here; raises SettingsError."""
    if not any(name.startswith(_REGISTRY) for name in os.environ):
        # The packaged schemas; what reads settings takes a while to import.
        return with_own(registry.ask_registry(""))
    from flows.registry_settings import registry_settings

    settings = registry_settings()
    try:
        asked = registry.ask_registry(
            settings.schema_registry.get_secret_value(), settings.registry_config
        )
        return with_own(asked)
    except ValueError as error:
        raise SettingsError(f"{_REGISTRY}: {error}") from error


def lookup_or_why(schema_id: SchemaId) -> AvroSchema:
    """Find a schema; a registry that does not answer is a reason why there is none."""
    try:
        return lookup()(schema_id)
    except registry.RegistryUnavailableError as error:
        raise KeyError(schema_id, f"could not be had: {error}") from error
