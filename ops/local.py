"""The local stack: a Kafka broker, a Redis server and a schema registry, as long as needed."""

import contextlib
import fcntl
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.processes import (
    Server,
    ServerError,
    end_detached,
    from_json,
    running,
    start,
    to_json,
)
from ops.servers import HOST, Command, Ready, broker, redis, registry

SERVERS: Final = ("broker", "redis", "registry")


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the local stack's servers listen, and a folder for what flows write."""

    bootstrap: str
    redis_url: str
    registry_url: str
    folder: Path

    def env(self) -> dict[str, str]:
        """Return the settings, as environment variables, of a flow that uses this stack."""
        return {
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "MILLSTREAM_REDIS_URL": self.redis_url,
            # For producers. Flows have the same schemas, by the same ids, and need not ask.
            "SCHEMA_REGISTRY_URL": self.registry_url,
            "MILLSTREAM_DELTA_ROOT": str(self.folder / "tables"),
            # bytewax.run takes -r only together with these two.
            "BYTEWAX_SNAPSHOT_INTERVAL": "10",
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
        }

    def exports(self) -> str:
        """Return the settings as lines for a shell to source."""
        return "".join(f"export {k}={shlex.quote(v)}\n" for k, v in self.env().items())


# --- servers for the length of a block ---------------------------------------------------


@contextlib.contextmanager
def start_broker(port: int | None = None, folder: Path | None = None) -> Iterator[str]:
    """Run an empty broker for the length of a block; gives its bootstrap address.

    Its log goes to `folder`, by default a temporary one. Raises ServerError.
    """
    with (
        _folder(folder) as logs,
        running("broker", *broker(), logs / "broker.log", port) as it,
    ):
        yield f"{HOST}:{it.port}"


@contextlib.contextmanager
def start_redis(port: int | None = None, folder: Path | None = None) -> Iterator[str]:
    """Run an empty Redis server for the length of a block; gives its URL."""
    with (
        _folder(folder) as logs,
        running("redis", *redis(logs), logs / "redis.log", port) as it,
    ):
        yield f"redis://{HOST}:{it.port}/0"


@contextlib.contextmanager
def start_registry(port: int | None = None, folder: Path | None = None) -> Iterator[str]:
    """Run a schema registry with the packaged schemas for the length of a block; gives its URL."""
    with (
        _folder(folder) as logs,
        running("registry", *registry(), logs / "registry.log", port) as it,
    ):
        yield f"http://{HOST}:{it.port}"


@contextlib.contextmanager
def local_stack(folder: Path | None = None) -> Iterator[Stack]:
    """Run all servers for the length of a block, which they never outlive.

    `folder` gets logs and tables; by default a temporary one, deleted at the end.
    Raises ServerError.
    """
    with (
        _folder(folder) as base,
        start_broker(folder=base) as bootstrap,
        start_redis(folder=base) as redis_url,
        start_registry(folder=base) as registry_url,
    ):
        yield Stack(bootstrap, redis_url, registry_url, base)


@contextlib.contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="millstream-") as temporary:
        yield Path(temporary)


# --- servers that stay -------------------------------------------------------------------


def up(folder: Path) -> Stack:
    """Start whichever of the servers does not run; they outlive this process.

    `folder` gets ``stack.json`` (the processes), ``env`` (to be sourced), logs and tables. A
    server that runs is left alone; one that died starts anew, empty. Raises ServerError.
    """
    folder = folder.absolute()
    with _locked(folder):
        servers = {server.name: server for server in _read(folder) if server.alive()}
        try:
            for name in SERVERS:
                if name not in servers:
                    command, ready = _server(name, folder)
                    log = folder / f"{name}.log"
                    servers[name], process = start(name, command, ready, log, detached=True)
                    # It is meant to stay: tell Popen not to warn that nobody waited for it.
                    process.returncode = 0
        finally:
            # Also after a failure: what did start must be found by `down`.
            (folder / "stack.json").write_text(
                to_json([servers[name] for name in SERVERS if name in servers])
            )
        stack = _stack(folder, servers)
        (folder / "env").write_text(stack.exports())
    return stack


def down(folder: Path) -> list[str]:
    """End the servers that `up` started; returns the names of those that ran.

    Logs and tables stay. Raises ServerError if one does not end.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        return []
    with _locked(folder):
        ended = [server for server in _read(folder) if server.alive()]
        for server in ended:
            end_detached(server)
        for name in ("stack.json", "env"):
            (folder / name).unlink(missing_ok=True)
    return [server.name for server in ended]


def status(folder: Path) -> tuple[Stack | None, dict[str, bool]]:
    """Return the stack if all of it runs, else None, and whether each server runs."""
    folder = folder.absolute()
    servers = {server.name: server for server in _read(folder)}
    alive = {n: n in servers and servers[n].alive() for n in SERVERS}
    return (_stack(folder, servers) if all(alive.values()) else None), alive


def _stack(folder: Path, servers: dict[str, Server]) -> Stack:
    kafka, cache, schemas = (servers[name].port for name in SERVERS)
    return Stack(
        f"{HOST}:{kafka}", f"redis://{HOST}:{cache}/0", f"http://{HOST}:{schemas}", folder
    )


def _server(name: str, folder: Path) -> tuple[Command, Ready]:
    if name == "broker":
        return broker()
    return redis(folder) if name == "redis" else registry()


def _read(folder: Path) -> list[Server]:
    path = folder / "stack.json"
    try:
        return from_json(path.read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ServerError(f"{path}: {error}; end its processes and delete it") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two commands don't start two stacks."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
