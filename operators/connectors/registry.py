"""Where schemas come from: a Schema Registry, a folder, or this package.

The REST API is Confluent's (https://docs.confluent.io/platform/current/schema-registry/
develop/api.html), as `confluent_kafka.schema_registry` 2.16 speaks it.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

import schemas
from operators.avro import Lookup, SchemaId
from schemas import AvroSchema

# How long an id that was not found is not asked for again: a schema may yet be registered.
UNKNOWN_SECONDS = 30.0
_MAX_UNKNOWN = 10_000
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


class RegistryUnavailableError(RuntimeError):
    """The registry did not answer, or not as a registry does, after all retries."""


def open_registry(url: str, config: Mapping[str, str] | None = None) -> Lookup:
    """Return the function that finds a schema by its id.

    `url` is a registry's (``http://`` or ``https://``, several with commas between), a
    folder of ``<record>/<version>.avsc`` or its ``file://`` URL, or empty for the packaged
    schemas; files are read here, and have the ids of `schemas.local_id` and `local_guid`.
    `config` goes to `SchemaRegistryClient`: ``basic.auth.user.info``, ``ssl.ca.location``,
    ``timeout`` (s; 10), ``max.retries`` (3) and so on.

    The function raises KeyError for an id that does not exist, and remembers that for
    `UNKNOWN_SECONDS`; and RegistryUnavailableError for anything else that goes wrong.
    This raises ValueError for a bad `config`, and FileNotFoundError without the folder.
    """
    if not _is_http(url):
        return _read_folder(_folder(url)).__getitem__
    client = _client(url, config)
    return remember_unknown(lambda schema_id: _fetch(client, url, schema_id))


def register(
    url: str, config: Mapping[str, str] | None, record: str, topic: str
) -> dict[int, int]:
    """Register each packaged version of `record`, oldest first; return their ids by version.

    The subject is ``<topic>-value``. Where `url` is no registry's, nothing is written and
    the ids are the local ones. Raises KeyError for a record without versions, and
    RegistryUnavailableError also where the registry refuses a version as incompatible.
    """
    versions = schemas.versions(record)
    if not _is_http(url):
        return {version: schemas.local_id(record, version) for version in versions}
    client = _client(url, config)
    ids = {}
    for version in versions:
        schema = Schema(json.dumps(schemas.load(record, version)), "AVRO")
        try:
            ids[version] = int(client.register_schema(f"{topic}-value", schema))
        # The client lets its HTTP library's own errors through, of many kinds.
        except Exception as error:
            raise _unavailable(url, error) from error
    return ids


def remember_unknown(lookup: Lookup, clock: Callable[[], float] = time.monotonic) -> Lookup:
    """Return `lookup`, made to raise KeyError at once for ids that it lately did not know."""
    unknown: dict[SchemaId, float] = {}

    def remembering(schema_id: SchemaId) -> AvroSchema:
        until = unknown.get(schema_id)
        if until is not None and clock() < until:
            raise KeyError(schema_id)
        try:
            return lookup(schema_id)
        except KeyError:
            if len(unknown) >= _MAX_UNKNOWN:  # whoever sends that many makes them up
                unknown.clear()
            unknown[schema_id] = clock() + UNKNOWN_SECONDS
            raise

    return remembering


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _folder(url: str) -> Path:
    if not url:
        return Path(schemas.__file__).parent
    if url.startswith("file://"):
        return Path(url2pathname(urlsplit(url).path))
    return Path(url)


def _read_folder(folder: Path) -> dict[SchemaId, AvroSchema]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no schemas folder at {folder}")
    found: dict[SchemaId, AvroSchema] = {}
    for path in sorted(folder.glob("*/*.avsc")):
        record, version = path.parent.name, int(path.stem)
        schema = json.loads(path.read_text("utf-8"))
        found[schemas.local_id(record, version)] = schema
        found[schemas.local_guid(record, version)] = schema
    return found


def _client(url: str, config: Mapping[str, str] | None) -> Any:
    settings: dict[str, Any] = {"url": url, "timeout": 10.0}
    for name, value in (config or {}).items():
        settings[name] = float(value) if name in _NUMBERS else value
    return SchemaRegistryClient(settings)


def _fetch(client: Any, url: str, schema_id: SchemaId) -> AvroSchema:
    if isinstance(schema_id, int) and schema_id >= 2**31:
        # Ids are Java ints. Asked for more, a registry answers like a page that it lacks.
        raise KeyError(schema_id)
    try:
        if isinstance(schema_id, int):
            found = client.get_schema(schema_id)
        else:
            found = client.get_schema_by_guid(str(schema_id))
        return _parse(client, found)
    except SchemaRegistryError as error:
        # A GUID has a plain 404 where the registry is too old to know any.
        plain = not isinstance(schema_id, int) and error.http_status_code == 404
        if plain or error.error_code in _NOT_FOUND:
            raise KeyError(schema_id) from None
        raise _unavailable(url, error) from error
    # The client lets its HTTP library's own errors through, of many kinds.
    except Exception as error:
        raise _unavailable(url, error) from error


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


_COMPLEX = ("record", "enum", "fixed", "array", "map", "error")


def _unavailable(url: str, error: Exception) -> RegistryUnavailableError:
    host = url.rpartition("@")[2]  # without a password
    return RegistryUnavailableError(f"schema registry {host}: {type(error).__name__}: {error}")
