"""An S3 store for tests (moto's server), and a proxy that fails as S3 does.

moto honours conditional puts (If-None-Match), which Delta's commits on S3 rest on.
"""

import contextlib
import http.client
import importlib.util
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from ops.processes import ask, running

FAULTS: Final = ("500", "503", "SlowDown", "answer lost", "stall")
"""What the proxy can do to a request; "answer lost" is after the request took effect."""

_ERROR: Final = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}</Message></Error>"
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


def missing() -> str | None:
    """Return why there can be no S3 store here, None if there can."""
    return None if importlib.util.find_spec("moto") else "no S3 store: install moto[server,s3]"


def needed() -> None:
    """Skip the test where there can be no store: it is of the group dev, which tests install."""
    if why := missing():
        pytest.skip(why)  # it lacks only where others were installed


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[int]:
    """Run an empty store for the length of a block; gives its port."""
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p"]
    request = b"GET / HTTP/1.0\r\n\r\n"
    with running(
        "s3",
        lambda port: [*command, str(port)],
        lambda port: ask(port, request).startswith(b"HTTP/1."),
        folder / "s3.log",
    ) as server:
        yield server.port


def storage_env(port: int) -> dict[str, str]:
    """Return the environment by which object stores' clients find the store at a port."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def create_bucket(port: int, bucket: str) -> None:
    """Create a bucket."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("PUT", f"/{bucket}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, answer.status


def _asked(method: str, path: str) -> str:
    """Return what S3 calls a right to do what is asked."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if method in ("GET", "HEAD"):
        return "list" if {"list-type", "prefix"} & query.keys() else "get"
    deletes = method == "DELETE" or (method == "POST" and "delete" in query)
    return "delete" if deletes else "put"


def _answer(client: BaseHTTPRequestHandler, status: int, code: str) -> None:
    text = _ERROR.format(code).encode()
    client.send_response(status)
    client.send_header("Content-Type", "application/xml")
    client.send_header("Content-Length", str(len(text)))
    client.end_headers()
    if client.command != "HEAD":
        client.wfile.write(text)


class Proxy:
    """A proxy before a store that breaks a share of the writes.

    `rate` is the share of PUT and POST requests that meet one of `faults`; with `reads` GET
    and HEAD as well. Both may be changed while it runs. `done` counts what it did. Who has no right
    to do what `lacks` names, "get", "put", "list" or "delete", is refused as S3 refuses it.
    """

    def __init__(self, upstream: int, seed: int = 0) -> None:
        self.rate, self.reads = 0.0, False
        self.faults: tuple[str, ...] = FAULTS
        self.stall = 2.0
        self.lacks: frozenset[str] = frozenset()
        self.done: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                proxy._handle(self, upstream)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 # its names

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _draw(self, method: str) -> str | None:
        with self._lock:
            if method not in ("PUT", "POST") and not (self.reads and method in ("GET", "HEAD")):
                return None
            if self._random.random() >= self.rate:
                return None
            fault = self._random.choice(self.faults)
            self.done[fault] += 1
            return fault

    def _handle(self, client: BaseHTTPRequestHandler, upstream: int) -> None:
        body = client.rfile.read(int(client.headers.get("Content-Length") or 0))
        if _asked(client.command, client.path) in self.lacks:
            self.done["denied"] += 1
            _answer(client, 403, "AccessDenied")
            return
        fault = self._draw(client.command)
        if fault in ("500", "503", "SlowDown"):
            code = "SlowDown" if fault == "SlowDown" else "InternalError"
            _answer(client, 500 if fault == "500" else 503, code)
            return
        if fault == "stall":
            time.sleep(self.stall)
        headers = {k: v for k, v in client.headers.items() if k.lower() not in _HOP}
        connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)
        headers["Host"] = f"127.0.0.1:{upstream}"
        if body or client.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        connection.request(client.command, client.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "answer lost":
            client.close_connection = True
            client.connection.close()
            return
        client.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP, "date", "server"):
                client.send_header(name, value)
        length = answer.getheader("Content-Length") if client.command == "HEAD" else None
        client.send_header("Content-Length", length or str(len(data)))
        client.end_headers()
        client.wfile.write(data)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def proxy(upstream: int, seed: int = 0) -> Iterator[Proxy]:
    """Run a proxy for the length of a block."""
    made = Proxy(upstream, seed)
    try:
        yield made
    finally:
        made.close()
