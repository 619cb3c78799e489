"""A Schema Registry over HTTP.

The REST API is Confluent's (https://docs.confluent.io/platform/current/schema-registry/
develop/api.html), as `confluent_kafka.schema_registry` 2.16 speaks it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from operators.avro import SchemaId
from operators.connectors.registry.errors import RegistryAwayError, RegistryDeniedError
from schemas import AvroSchema

_MAX_REFERENCES: Final = 100
# Of one call. Those who are told to end wait for the one under way.
_TIMEOUT: Final = 5.0
# Confluent's codes of what is not there: a subject, a version, a schema.
_NOT_FOUND: Final = {40401, 40402, 40403}
_COMPLEX: Final = ("record", "enum", "fixed", "array", "map", "error")
_UNREADABLE: Final = {"type": "unreadable"}  # no record: the decoder says so


class RegistryClient:
    """One registry; see `Registry`."""

    def __init__(self, url: str, config: Mapping[str, str]) -> None:
        """`config` is as of `open_registry`, and `url` has no password.

        Raises ValueError for a bad `config`, and OSError for certificates that cannot be read.
        """
        self.where = url
        settings: dict[str, Any] = {"url": url, "timeout": _TIMEOUT, "max.retries": 0, **config}
        if "ssl.certificate.location" in settings:
            # Without any password OpenSSL would ask the terminal for one.
            settings.setdefault("ssl.key.password", "")
        token = settings.pop("bearer.auth.token", None)
        file = settings.pop("bearer.auth.token.file", None)
        if token or file:
            settings |= {
                "bearer.auth.credentials.source": "CUSTOM",
                "bearer.auth.custom.provider.config": {},
                "bearer.auth.custom.provider.function": lambda _: _bearer(token, file),
            }
        self._client = SchemaRegistryClient(settings)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def check(self) -> None:
        """Return if a registry answers there."""
        try:
            with _failures():
                types = self._client.get_schema_types()
        except SchemaRegistryError as error:
            # Old ones, and gateways that let through no more than is needed, lack that page.
            if error.http_status_code != 404 or not self._answers_for_ids():
                raise _failed(error) from error
            return
        if not isinstance(types, list):
            raise RegistryAwayError("the answer is not a registry's")

    def register(self, subject: str, schema: AvroSchema, kind: str = "AVRO") -> int:
        """Register a version of a subject, of the registry's `kind`; return its id."""
        try:
            with _failures():
                return int(
                    self._client.register_schema(subject, Schema(json.dumps(schema), kind))
                )
        except SchemaRegistryError as error:
            raise _failed(error) from error

    def published(self, subject: str) -> dict[int, tuple[int, AvroSchema]]:
        """Return each version's id and schema; nothing of a subject that is not there."""
        try:
            with _failures():
                found = [
                    self._client.get_version(subject, version)
                    for version in self._client.get_versions(subject)
                ]
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return {}
            raise _failed(error) from error
        return {each.version: (each.schema_id, self._readable(each)) for each in found}

    def _readable(self, version: Any) -> AvroSchema:
        try:
            return self._whole(version.schema_id, version.schema)
        except KeyError:  # one that it refers to is not there
            return _UNREADABLE

    def fetch(self, schema_id: SchemaId) -> AvroSchema:
        """Return the schema of an id; raises KeyError if there is none, perhaps with a why."""
        try:
            with _failures():
                if isinstance(schema_id, int):
                    found = self._client.get_schema(schema_id)
                else:
                    found = self._client.get_schema_by_guid(str(schema_id))
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND or self._has_no_such(schema_id, error):
                raise KeyError(schema_id) from None
            raise _failed(error) from error
        if not isinstance(found.schema_str, str):
            # What the client took for a schema it would give again.
            self._client.clear_caches()
            raise RegistryAwayError("the answer is not a registry's")
        return self._whole(schema_id, found)

    def _has_no_such(self, schema_id: SchemaId, error: SchemaRegistryError) -> bool:
        """Tell whether a registry says in its own way that it cannot have such an id.

        Ids are Java ints: asked for a larger one, or for a GUID where it knows none, it answers
        like a page that it lacks. So does any other server, hence the second look.
        """
        if (isinstance(schema_id, int) and schema_id < 2**31) or error.http_status_code != 404:
            return False
        self.check()
        return True

    def _answers_for_ids(self) -> bool:
        try:
            self._client.get_schema(1)
        except SchemaRegistryError as error:
            return error.error_code in _NOT_FOUND
        except Exception:  # its HTTP library's own: whatever it is, that was no answer for ids
            return False
        return True

    def _whole(self, schema_id: SchemaId, found: Any) -> AvroSchema:
        """Return a schema with the definition of each type that it refers to."""
        if found.schema_type == "JSON":
            return _json(found.schema_str)
        if (found.schema_type or "AVRO") != "AVRO":
            return {"type": found.schema_type}
        # What somebody registered is data: however odd, it is no reason to stop.
        definitions: dict[str, Any] = {}
        try:
            schema = json.loads(found.schema_str)
            self._collect(schema_id, found.references or [], definitions)
        except (ValueError, TypeError, RecursionError):
            return _UNREADABLE
        try:
            if definitions:
                schema = _inline(schema, "", definitions)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            return _UNREADABLE
        return schema if isinstance(schema, dict) else {"type": schema}

    def _collect(
        self, schema_id: SchemaId, references: list[Any], definitions: dict[str, Any]
    ) -> None:
        """Fetch what is referred to, and what that refers to, by full name."""
        for reference in references:
            if reference.name in definitions:
                continue
            if len(definitions) >= _MAX_REFERENCES:
                raise ValueError(f"a schema refers to more than {_MAX_REFERENCES} others")
            target = self._version(schema_id, reference.subject, reference.version)
            definitions[reference.name] = json.loads(target.schema_str)
            self._collect(schema_id, target.references or [], definitions)

    def _version(self, schema_id: SchemaId, subject: str, version: int) -> Any:
        """Return a subject's version, which may be deleted: records outlive it."""
        try:
            with _failures():
                return self._client.get_version(subject, version, deleted=True).schema
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                why = f"refers to version {version} of subject {subject}, which is not there"
                raise KeyError(schema_id, why) from None
            raise _failed(error) from error


def _json(text: str) -> AvroSchema:
    """Return a JSON Schema as it was registered: what it refers to is somewhere else."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return _UNREADABLE
    return schema if isinstance(schema, dict) else _UNREADABLE


@contextmanager
def _failures() -> Iterator[None]:
    """Make our errors of what is no answer of the registry; what it answers comes through."""
    try:
        yield
    except SchemaRegistryError:
        raise
    except Exception as error:  # its HTTP library's own come through, of many kinds
        raise _failed(error) from error


def _bearer(token: str | None, file: str | None) -> dict[str, str]:
    """Return a token's fields, which from a file is read each time, as it may be renewed."""
    if file is not None:
        token = Path(file).read_text("ascii").strip()
    return {"bearer.auth.token": token or "", "bearer.auth.logical.cluster": ""}


def _failed(error: Exception) -> RegistryAwayError | RegistryDeniedError:
    """Return an error that says what happened, without what may be a secret."""
    if isinstance(error, SchemaRegistryError):
        status, said = error.http_status_code, f"HTTP {error.http_status_code}"
        if error.error_code != SchemaRegistryError.UNKNOWN and error.error_message:
            said += f": {' '.join(str(error.error_message).split())[:200]}"
        if status in (401, 403):
            return RegistryDeniedError(said)
        if 300 <= status < 400:
            said += ", a redirect, which is not followed: name the URL that it leads to"
        elif status == 404:
            said += ", which is no registry's answer to that"
        return RegistryAwayError(said)
    if isinstance(error, UnicodeError):
        return RegistryDeniedError("the bearer token is not ASCII")
    if isinstance(error, ValueError | TypeError | AttributeError):
        return RegistryAwayError("the answer is not a registry's")
    return RegistryAwayError(f"{type(error).__name__}: {error}")


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
