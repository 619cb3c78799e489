"""A proxy before a server of this machine: it ends TLS, or cuts connections within an answer."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


class Proxy:
    """Forwards connections to a port, each in threads of its own."""

    def __init__(
        self, to: int, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        """With a certificate it speaks TLS to its clients."""
        self._to = to
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0
        self._cut_at: int | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, after: int) -> None:
        """Close the connection that has got this many more bytes of answers."""
        with self._lock:
            self._cut_at = after

    def lead_to(self, port: int) -> None:
        """Let new connections lead to another server."""
        self._to = port

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(client)
            if self._context is not None:
                client = stack.enter_context(
                    self._context.wrap_socket(client, server_side=True)
                )
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._to)))
            back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65_536):
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                with self._lock:
                    at = self._cut_at
                    if at is not None:
                        self._cut_at = at - len(data) if at > len(data) else None
                if at is not None and at <= len(data):
                    client.sendall(data[:at])
                    self.cuts += 1
                    break
                client.sendall(data)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(to: int, certificate: Path | None = None, key: Path | None = None) -> Iterator[Proxy]:
    """Run a proxy for the length of a block."""
    made = Proxy(to, certificate, key)
    try:
        yield made
    finally:
        made.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own CA, and its key; return their files."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(made), "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key
