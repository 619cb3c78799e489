"""Where schemas come from: a Schema Registry, a folder, or this package."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import schemas
from operators.avro import Lookup, SchemaId
from operators.errors import KnownError
from schemas import AvroSchema

if TYPE_CHECKING:
    from operators.connectors.registry_client import RegistryClient

# How long an id that was not found is not asked for again: a schema may yet be registered.
UNKNOWN_SECONDS = 30.0
_MAX_UNKNOWN = 10_000


class RegistryUnavailableError(KnownError):
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
    if not is_http(url):
        return _read_folder(schemas_folder(url)).__getitem__
    client = _client(url, config)
    return remember_unknown(client.fetch)


def register(
    url: str, config: Mapping[str, str] | None, record: str, topic: str
) -> dict[int, int]:
    """Register each packaged version of `record`, oldest first; return their ids by version.

    The subject is ``<topic>-value``. Where `url` is no registry's, nothing is written and
    the ids are the local ones. Raises KeyError for a record without versions, and
    RegistryUnavailableError also where the registry refuses a version as incompatible.
    """
    versions = schemas.versions(record)
    if not is_http(url):
        return {version: schemas.local_id(record, version) for version in versions}
    client = _client(url, config)
    return {
        version: client.register(f"{topic}-value", schemas.load(record, version))
        for version in versions
    }


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


def _client(url: str, config: Mapping[str, str] | None) -> "RegistryClient":
    # Confluent's client brings three HTTP libraries, a third of a second of every start.
    from operators.connectors.registry_client import RegistryClient

    return RegistryClient(url, config or {})


def is_http(url: str) -> bool:
    """Tell a registry's URL from a folder."""
    return url.startswith(("http://", "https://"))


def schemas_folder(url: str) -> Path:
    """Return the folder of schemas that is no registry's URL, the packaged one if it is empty."""
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
