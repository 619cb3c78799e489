"""Where schemas come from: a Schema Registry, a folder, or this package."""

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import schemas
from operators.avro import Lookup, SchemaId
from operators.connectors.registry.errors import (
    RegistryAwayError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from operators.connectors.registry.kept import KeptSchemas
from schemas import AvroSchema

if TYPE_CHECKING:
    from operators.connectors.registry.client import RegistryClient

__all__ = [
    "RegistryUnavailableError",
    "ask_registry",
    "check_url",
    "is_registry",
    "open_registry",
    "published",
    "register",
]

_HTTP: Final = re.compile(r"https?://", re.IGNORECASE)


def check_url(url: str) -> None:
    """Raise ValueError, which shows no password, if `url` is none for `open_registry`."""
    if is_registry(url):
        _without_user(url)
    else:
        _read_folder(url)


def open_registry(
    url: str,
    config: Mapping[str, str] | None = None,
    *,
    kept: Path | None = None,
    timeout: float = 60.0,
) -> Lookup:
    """Return the function that finds a schema by its id.

    `url` is a registry's (``http://`` or ``https://``, several with commas between), a
    folder of ``<record>/<version>.avsc`` or its ``file://`` URL, or empty for the packaged
    schemas; files are read here, and have the ids of `schemas.local_id`, `former_id` and
    `local_guid`.
    `config` has the names of `SchemaRegistryClient`: ``basic.auth.user.info``,
    ``ssl.ca.location`` and so on; for a bearer token ``bearer.auth.token``, or
    ``bearer.auth.token.file`` where it is renewed. A registry is waited for, for `timeout`
    seconds, if the folder `kept` has no schemas of it from earlier runs.

    The function raises KeyError for an id that does not exist, and RegistryUnavailableError
    if the registry is away for longer than a flow at work waits.
    This raises ValueError for a bad `url` or `config`, without secrets, and
    RegistryUnavailableError.
    """
    if not is_registry(url):
        return _read_folder(url).__getitem__
    from operators.connectors.registry.lookup import RegistryLookup  # it has metrics

    client = _client(url, config)
    lookup = RegistryLookup(client, KeptSchemas(kept, client.where))
    lookup.begin(timeout)
    return lookup


def ask_registry(url: str, config: Mapping[str, str] | None = None) -> Lookup:
    """Return what `open_registry` does, for tools: the registry is asked once, not waited for.

    The function raises KeyError for an id that does not exist, and RegistryUnavailableError if the
    registry does not answer. This raises ValueError for a bad `url` or `config`.
    """
    if not is_registry(url):
        return _read_folder(url).__getitem__

    @cache
    def ask(schema_id: SchemaId) -> AvroSchema:
        with _answering(url, config) as client:
            return client.fetch(schema_id)

    return ask


def register(
    url: str, config: Mapping[str, str] | None, record: str, topic: str
) -> dict[int, int]:
    """Register each packaged version of `record`, oldest first; return their ids by version.

    The subject is ``<topic>-value``. Where `url` is no registry's, nothing is written and
    the ids are the local ones. Raises KeyError for a record without versions, and
    RegistryUnavailableError also where the registry refuses a version as incompatible.
    """
    versions = schemas.versions(record)
    if not is_registry(url):
        return {version: schemas.local_id(record, version) for version in versions}
    found = {version: schemas.load(record, version) for version in versions}
    return register_all(url, config, topic, found)


def register_all(
    url: str,
    config: Mapping[str, str] | None,
    topic: str,
    versions: Mapping[int, AvroSchema],
    kind: str = "AVRO",
) -> dict[int, int]:
    """Register versions of a topic's values, of the registry's `kind`; return their ids.

    Raises RegistryUnavailableError as `register` does.
    """
    with _answering(url, config) as client:
        return {
            version: client.register(f"{topic}-value", schema, kind)
            for version, schema in versions.items()
        }


def is_registry(url: str) -> bool:
    """Tell whether a `url` is a registry's, and no folder's."""
    return _HTTP.match(url) is not None


def published(
    url: str, config: Mapping[str, str] | None, topic: str
) -> dict[int, tuple[int, AvroSchema]]:
    """Return what a registry has of a topic's values: each version's id and schema.

    Raises RegistryUnavailableError, and ValueError for a bad `config`.
    """
    with _answering(url, config) as client:
        return client.published(f"{topic}-value")


@contextmanager
def _answering(url: str, config: Mapping[str, str] | None) -> "Iterator[RegistryClient]":
    """Have a client for the length of a block, which does not wait for a registry that is away."""
    client = _client(url, config)
    try:
        yield client
    except (RegistryAwayError, RegistryDeniedError) as error:
        raise RegistryUnavailableError(f"schema registry {client.where}: {error}") from error
    finally:
        client.close()


def _client(url: str, config: Mapping[str, str] | None) -> "RegistryClient":
    # Confluent's client brings three HTTP libraries, a third of a second of every start.
    from operators.connectors.registry.client import RegistryClient

    bare, user = _without_user(url)
    settings = dict(config or {})
    if user:
        if "basic.auth.user.info" in settings or any(n.startswith("bearer.") for n in settings):
            raise ValueError("the user stands in the URL and in a setting of its own")
        settings["basic.auth.user.info"] = user
    try:
        return RegistryClient(bare, settings)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f"certificates or their key cannot be read: {error}") from error


def _without_user(urls: str) -> tuple[str, str]:
    """Return registries' URLs without user and password, and these as ``user:password``.

    A password may have any character; as in URLs, %40 is one. Raises ValueError.
    """
    bare, users = [], set()
    for url in re.split(r"\s*,\s*(?=https?://)", urls.strip(), flags=re.IGNORECASE):
        scheme, _, rest = url.partition("://")
        user, _, place = rest.rpartition("@")
        if user:
            users.add(unquote(user))
        try:
            parts = urlsplit(f"{scheme.lower()}://{place}")
            good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        # Any part of it may be of a password.
        if not good or parts.query or parts.fragment or re.search(r"[\s,]", place):
            raise ValueError("is not the URL of a registry: http://host:port")
        bare.append(f"{scheme.lower()}://{place}".rstrip("/"))
    if len(users) > 1:
        raise ValueError("has more than one user")
    user = users.pop() if users else ""
    if user and ":" not in user:
        raise ValueError("has a user without a password")
    return ",".join(bare), user


def _folder(url: str) -> Path:
    if not url:
        return Path(schemas.__file__).parent
    if url.startswith("file://"):
        return Path(url2pathname(urlsplit(url).path))
    return Path(url)


def _read_folder(url: str) -> dict[SchemaId, AvroSchema]:
    """Return the schemas of a folder; raises ValueError with all that is wrong there."""
    folder = _folder(url)
    if not folder.is_dir():
        # Not what it is: of a misspelt URL that may be a password.
        raise ValueError("is neither an http:// or https:// URL nor a folder that is there")
    found: dict[SchemaId, AvroSchema] = {}
    problems = []
    # Other systems leave files of their own, whose names begin with a dot.
    paths = [path for path in sorted(folder.glob("*/*.avsc")) if path.name[0] != "."]
    for path in paths:
        record = path.parent.name
        try:
            if not path.stem.isdecimal():
                raise ValueError("its name is no version number")
            schema = json.loads(path.read_text("utf-8"))
            if not isinstance(schema, dict):
                raise ValueError("it is no schema of a record")
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{path}: {error}")
            continue
        version = int(path.stem)
        found[schemas.local_id(record, version)] = schema
        found[schemas.former_id(record, version)] = schema
        found[schemas.local_guid(record, version)] = schema
    if not paths:
        problems.append(f"{folder} has no file <record>/<version>.avsc")
    if problems:
        raise ValueError("; ".join(problems))
    return found
