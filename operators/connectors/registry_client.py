"""A Schema Registry over HTTP.

The REST API is Confluent's (https://docs.confluent.io/platform/current/schema-registry/
develop/api.html), as `confluent_kafka.schema_registry` 2.16 speaks it.
"""

import json
from collections.abc import Mapping
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from operators.avro import SchemaId
from operators.connectors.registry import RegistryUnavailableError
from schemas import AvroSchema

_MAX_REFERENCES = 100
_NUMBERS = {
    "timeout",
    "max.retries",
    "retries.wait.ms",
    "retries.max.wait.ms",
    "cache.capacity",
    "cache.latest.ttl.sec",
}
# Confluent's codes of what is not there: a subject, a version, a schema.
_NOT_FOUND = {40401, 40402, 40403}
_COMPLEX = ("record", "enum", "fixed", "array", "map", "error")


class RegistryClient:
    """One registry. Its methods raise RegistryUnavailableError for all that goes wrong."""

    def __init__(self, url: str, config: Mapping[str, str]) -> None:
        """`config` is as of `open_registry`; raises ValueError for a bad one."""
        settings: dict[str, Any] = {"url": url, "timeout": 10.0}
        for name, value in config.items():
            settings[name] = float(value) if name in _NUMBERS else value
        self._url, self._client = url, SchemaRegistryClient(settings)

    def register(self, subject: str, schema: AvroSchema) -> int:
        """Register a version of a subject; return its id."""
        try:
            return int(
                self._client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
            )
        except Exception as error:  # its HTTP library's own come through, of many kinds
            raise self._unavailable(error) from error

    def fetch(self, schema_id: SchemaId) -> AvroSchema:
        """Return the schema of an id; raises KeyError if there is none."""
        if isinstance(schema_id, int) and schema_id >= 2**31:
            # Ids are Java ints. Asked for more, a registry answers like a page that it lacks.
            raise KeyError(schema_id)
        try:
            if isinstance(schema_id, int):
                found = self._client.get_schema(schema_id)
            else:
                found = self._client.get_schema_by_guid(str(schema_id))
            return _parse(self._client, found)
        except SchemaRegistryError as error:
            # A GUID has a plain 404 where the registry is too old to know any.
            plain = not isinstance(schema_id, int) and error.http_status_code == 404
            if plain or error.error_code in _NOT_FOUND:
                raise KeyError(schema_id) from None
            raise self._unavailable(error) from error
        except Exception as error:  # its HTTP library's own come through, of many kinds
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RegistryUnavailableError:
        host = self._url.rpartition("@")[2]  # without a password
        return RegistryUnavailableError(
            f"schema registry {host}: {type(error).__name__}: {error}"
        )


def _parse(client: Any, found: Any) -> AvroSchema:
    """Return a schema whole: with the definition of each type that it refers to."""
    if (found.schema_type or "AVRO") != "AVRO":
        return {"type": found.schema_type}  # no record: the decoder says so
    schema = json.loads(found.schema_str)
    definitions: dict[str, Any] = {}
    _collect(client, found.references or [], definitions)
    if definitions:
        schema = _inline(schema, "", definitions)
    return schema if isinstance(schema, dict) else {"type": schema}


def _collect(client: Any, references: list[Any], definitions: dict[str, Any]) -> None:
    """Fetch what is referred to, and what that refers to, by full name."""
    for reference in references:
        if reference.name in definitions:
            continue
        if len(definitions) >= _MAX_REFERENCES:
            raise ValueError(f"a schema refers to more than {_MAX_REFERENCES} others")
        target = client.get_version(reference.subject, reference.version).schema
        definitions[reference.name] = json.loads(target.schema_str)
        _collect(client, target.references or [], definitions)


def _inline(schema: Any, namespace: str, definitions: dict[str, Any]) -> Any:
    """Put each definition where its name stands first; take it out of `definitions`."""
    if isinstance(schema, str):
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        found = definitions.pop(full, None)
        return schema if found is None else _inline(found, "", definitions)
    if isinstance(schema, list):
        return [_inline(branch, namespace, definitions) for branch in schema]
    name = schema.get("name", "")
    inside = name.rpartition(".")[0] or schema.get("namespace", namespace)
    whole = dict(schema)
    for part in ("type", "items", "values"):
        if part in whole and not (part == "type" and whole[part] in _COMPLEX):
            whole[part] = _inline(whole[part], inside, definitions)
    if "fields" in whole:
        whole["fields"] = [
            {**field, "type": _inline(field["type"], inside, definitions)}
            for field in whole["fields"]
        ]
    return whole
