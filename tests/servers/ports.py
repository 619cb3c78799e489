"""Ports of servers that are killed and started again."""

import contextlib
import secrets
import socket
from typing import Final

_OURS: Final = range(12_000, 22_000)
_given: set[int] = set()


def lasting_port() -> int:
    """Return a free port, each time another, that no connection gets while its server is away.

    It is below the ports that the system gives out, and so is the one 10,000 above it, at which
    nodes of a Redis cluster talk to each other.
    """
    while True:
        port = secrets.choice(_OURS)
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe, socket.socket() as other:
            probe.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            _given.add(port)
            return port
