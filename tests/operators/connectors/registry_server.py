"""A schema registry for tests: the local stack's, numbering from 1, that can also go wrong."""

import contextlib
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ops import registry


class Store(registry.Store):
    """Empty at first; `deleted` are versions of subjects that are given only to who asks so."""

    def __init__(self) -> None:
        super().__init__({})
        self.deleted: set[tuple[str, str]] = set()

    def new_id(self, text: str) -> int:
        return len(self.schemas) + 1


class Registry(registry.Registry):
    """Answers as Confluent's registry does, unless told otherwise.

    `failures` answers 503 that often first; `page` is sent in the place of every answer: status,
    content and media type; `authorization` is the header that it wants to see.
    """

    store: Store

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        self.store = Store()
        self.failures = 0
        self.knows_guids = True
        self.page: tuple[int, bytes, str] | None = None
        self.authorization = ""
        self.asked: list[str] = []

    def add(self, subject: str, body: dict[str, Any]) -> int:
        return self.store.register(subject, body)

    def handle_error(self, *_: Any) -> None:
        """A client that does not trust us hangs up."""


@contextlib.contextmanager
def serving(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Registry]:
    """Run a registry for the length of a block."""
    server = Registry(port, tls)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(registry.Handler):
    """Answers one connection's requests."""

    server: Registry

    def do_GET(self) -> None:  # noqa: N802 # http.server's name
        if self.gone_wrong():
            return
        match self.parts():
            case ["schemas", "guids", _] if not self.server.knows_guids:
                self.answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})
            case ["schemas", "ids", number] if number.isdecimal() and int(number) >= 2**31:
                self.answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})
            case ["subjects", subject, "versions", version] if (
                subject,
                version,
            ) in self.server.store.deleted and parse_qs(urlsplit(self.path).query).get(
                "deleted"
            ) != ["true"]:
                self.answer(404, {"error_code": 40402, "message": "Version not found"})
            case _:
                super().do_GET()

    def do_POST(self) -> None:  # noqa: N802 # http.server's name
        if self.gone_wrong():
            self.rfile.read(int(self.headers["Content-Length"]))
        elif self.parts()[1] == "taken-value":
            self.answer(409, {"error_code": 409, "message": "incompatible"})
        else:
            super().do_POST()

    def gone_wrong(self) -> bool:
        self.server.asked.append(self.path)
        wanted = self.server.authorization
        self.server.failures -= 1
        if self.server.page is not None:
            self.send(*self.server.page)
        elif wanted and self.headers["Authorization"] != wanted:
            self.answer(401, {"error_code": 401, "message": HTTPStatus(401).phrase})
        elif self.server.failures >= 0:
            self.answer(503, {"error_code": 50003, "message": "Forwarding error"})
        else:
            return False
        return True
