"""A schema registry for this machine: Confluent's API over the packaged schemas.

``python -m ops.registry PORT`` serves until it is killed. Each packaged record stands under the
subject of the topic that the flows read it from by default, with the ids of `schemas.local_id`
and `local_guid`. What is registered besides is in memory only. Ids are made of the schemas, so
that they are the same after a restart, and those of `former_id` are known as well. Nothing is
checked for compatibility, nothing deleted.
"""

import json
import sys
import threading
import uuid
import zlib
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import schemas

RECORDS: Final = {record: f"{record}s-value" for record in schemas.records()}
"""Each record's subject: streams, and so topics, are called by the plural."""
_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_NO_SUBJECT: Final = 40401, "Subject not found"
_NO_VERSION: Final = 40402, "Version not found"
_NO_SCHEMA: Final = 40403, "Schema not found"
_BAD_SCHEMA: Final = 42201, "Invalid schema"

Answer = tuple[int, Any]
"""Returns HTTP status and JSON value."""


class Store:
    """Schemas by id, and the ids of subjects' versions."""

    def __init__(self, records: Mapping[str, str] = RECORDS) -> None:
        """Begin with these packaged records, each under a subject."""
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self._ids: dict[str, int] = {}
        self._lock = threading.Lock()
        for record, subject in records.items():
            for version in schemas.versions(record):
                text = json.dumps(schemas.load(record, version))
                number, guid = (
                    schemas.local_id(record, version),
                    schemas.local_guid(record, version),
                )
                self._add({"schema": text}, number, guid)
                self.schemas[schemas.former_id(record, version)] = self.schemas[number]
                self.subjects.setdefault(subject, []).append(number)

    def find(self, body: dict[str, Any]) -> int | None:
        """Return the id of a schema; raises ValueError for what is none."""
        return self._ids.get(_canonical(body))

    def register(self, subject: str, body: dict[str, Any]) -> int:
        """Add a schema, if it is new, to a subject, if it is new there; return its id."""
        with self._lock:
            number = self.find(body)
            if number is None:
                text = _canonical(body)
                number = self.new_id(text)
                self._add(body, number, uuid.uuid5(uuid.NAMESPACE_URL, f"millstream:{text}"))
            versions = self.subjects.setdefault(subject, [])
            if number not in versions:
                versions.append(number)
            return number

    def new_id(self, text: str) -> int:
        """Return the id of a new schema."""
        return zlib.crc32(text.encode()) & 0x7FFFFFFF  # elsewhere ids are Java's ints

    def _add(self, body: dict[str, Any], number: int, guid: uuid.UUID) -> None:
        kept = {k: v for k, v in body.items() if k in ("schema", "schemaType", "references")}
        self.schemas[number] = kept | {"guid": str(guid)}
        self._ids[_canonical(body)] = number

    def version(self, subject: str, version: str) -> Answer:
        """Answer with a subject's version, a number, ``latest`` or -1."""
        numbers = self.subjects.get(subject)
        if numbers is None:
            return _error(_NO_SUBJECT)
        last = version in ("latest", "-1")
        at = len(numbers) if last else int(version) if version.isdecimal() else 0
        if not 0 < at <= len(numbers):
            return _error(_NO_VERSION)
        return 200, self.described(subject, numbers[at - 1])

    def described(self, subject: str, number: int) -> dict[str, Any]:
        """Return what is known of a schema as a version of a subject."""
        version = self.subjects[subject].index(number) + 1
        return {"subject": subject, "version": version, "id": number, **self.schemas[number]}

    def get(self, path: list[str]) -> Answer:
        """Answer a GET."""
        match path:
            case [""]:
                return 200, {}
            case ["schemas", "types"]:
                return 200, ["AVRO", "JSON", "PROTOBUF"]
            case ["schemas", "ids", number, *rest]:
                found = self.schemas.get(int(number)) if number.isdecimal() else None
                return self._schema(int(number), rest) if found else _error(_NO_SCHEMA)
            case ["schemas", "guids", guid]:
                for each, schema in list(self.schemas.items()):
                    if schema["guid"] == guid.lower():
                        return 200, {"id": each, **schema}
                return _error(_NO_SCHEMA)
            case ["subjects"]:
                return 200, sorted(self.subjects)
            case ["subjects", subject, "versions"]:
                count = len(self.subjects.get(subject, []))
                return (200, [*range(1, count + 1)]) if count else _error(_NO_SUBJECT)
            case ["subjects", subject, "versions", version]:
                return self.version(subject, version)
            case ["subjects", subject, "versions", version, "schema"]:
                status, found = self.version(subject, version)
                return status, json.loads(found["schema"]) if status == 200 else found
            case ["config"] | ["config", _]:
                return 200, {"compatibilityLevel": "NONE"}
            case ["mode"] | ["mode", _]:
                return 200, {"mode": "READWRITE"}
        return _error((404, "HTTP 404 Not Found"))

    def _schema(self, number: int, rest: list[str]) -> Answer:
        where = [s for s, numbers in sorted(self.subjects.items()) if number in numbers]
        match rest:
            case []:
                return 200, self.schemas[number]
            case ["schema"]:
                return 200, json.loads(self.schemas[number]["schema"])
            case ["subjects"]:
                return 200, where
            case ["versions"]:
                versions = [self.described(subject, number) for subject in where]
                return 200, [{k: v[k] for k in ("subject", "version")} for v in versions]
        return _error((404, "HTTP 404 Not Found"))

    def post(self, path: list[str], body: Any) -> Answer:
        """Answer a POST: a schema that is looked up or registered."""
        try:
            match path:
                case ["subjects", subject, "versions"]:
                    return 200, self.described(subject, self.register(subject, body))
                case ["subjects", subject]:
                    if subject not in self.subjects:
                        return _error(_NO_SUBJECT)
                    number = self.find(body)
                    if number not in self.subjects[subject]:
                        return _error(_NO_SCHEMA)
                    return 200, self.described(subject, number)
        except (ValueError, TypeError, KeyError, AttributeError):
            return _error(_BAD_SCHEMA)
        return _error((404, "HTTP 404 Not Found"))


def _canonical(body: dict[str, Any]) -> str:
    """Return one text for what is one schema; raises ValueError for what is none."""
    kind = body.get("schemaType") or "AVRO"
    parsed = body["schema"] if kind == "PROTOBUF" else json.loads(body["schema"])
    return json.dumps([kind, parsed, body.get("references") or []], sort_keys=True)


def _error(error: tuple[int, str]) -> Answer:
    code, message = error
    return int(str(code)[:3]), {"error_code": code, "message": message}


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: "Registry"

    def log_message(self, *_: Any) -> None:
        """Say nothing: a log of every request is nobody's need here."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self.answer(*self.server.store.get(self.parts()))

    def do_POST(self) -> None:
        """Answer a POST."""
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        self.answer(*self.server.store.post(self.parts(), body))

    def parts(self) -> list[str]:
        """Return the path's parts."""
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def answer(self, status: int, body: Any) -> None:
        """Send JSON."""
        self.send(status, json.dumps(body).encode(), _TYPE)

    def send(self, status: int, data: bytes, kind: str) -> None:
        """Send bytes of a media type."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Registry(ThreadingHTTPServer):
    """Serves a store at a port of this machine."""

    daemon_threads = True

    def __init__(self, port: int, handler: type[Handler] = Handler) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.store = Store()


if __name__ == "__main__":
    Registry(int(sys.argv[1])).serve_forever()
