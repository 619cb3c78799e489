"""A schema registry for tests.

No registry runs on a developer's machine, so a small HTTP server answers here as Confluent's
API reference says. Our client was tried by hand against Apicurio Registry 2.6.13 as well (its
Confluent-compatible API, v7): registering twice, both ids, references, unknown ids, ids past
31 bits, GUIDs (which it does not know) and a wrong path.
"""

import base64
import json
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GUID = uuid.UUID(int=77)
"""What the first schema is also known by."""


class Registry(ThreadingHTTPServer):
    """Keeps schemas as Confluent's registry does; `failures` answers 503 that often first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas: list[dict[str, Any]] = []
        self.subjects: dict[str, list[int]] = {}
        self.failures = 0
        self.asked: list[str] = []
        self.password = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, subject: str, body: dict[str, Any]) -> int:
        if body not in self.schemas:
            self.schemas.append(body)
        found = self.schemas.index(body) + 1
        self.subjects.setdefault(subject, []).append(found)
        return found


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: Registry

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.refused():
            return
        path = self.path.partition("?")[0].strip("/").split("/")
        match path:
            case ["schemas", "ids", number]:
                self.schema(int(number))
            case ["schemas", "guids", guid]:
                self.schema(1 if guid == str(GUID) and self.server.schemas else 0)
            case ["subjects", subject, "versions", version]:
                found = self.server.subjects[subject][int(version) - 1]
                more = {"subject": subject, "id": found, "version": int(version)}
                self.answer(200, self.server.schemas[found - 1] | more)
            case _:
                self.answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        subject = self.path.strip("/").split("/")[1]
        if subject == "taken-value":
            self.answer(409, {"error_code": 409, "message": "incompatible"})
            return
        self.answer(200, {"id": self.server.add(subject, body)})

    def schema(self, number: int) -> None:
        if 0 < number <= len(self.server.schemas):
            self.answer(200, self.server.schemas[number - 1])
        else:
            self.answer(404, {"error_code": 40403, "message": "Schema not found"})

    def refused(self) -> bool:
        self.server.asked.append(self.path)
        wanted = "Basic " + base64.b64encode(self.server.password.encode()).decode()
        if self.server.password and self.headers["Authorization"] != wanted:
            self.answer(401, {"error_code": 401, "message": "Unauthorized"})
            return True
        self.server.failures -= 1
        if self.server.failures >= 0:
            self.answer(503, {"error_code": 50003, "message": "Forwarding error"})
            return True
        return False

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
