"""File limit: how many files, sockets among them, a process may have open, before it needs them."""

import resource
from typing import Final

from operators.errors import KnownError

# Bytewax, the recovery store, Redis, the tables' commits and what Python itself has open.
_BASE: Final = 64
# A client of librdkafka has a socket and a pipe for each broker, for the address that it was
# given, and for its group's coordinator.
_PER_BROKER: Final = 3
_MORE_BROKERS: Final = 2


class FileLimitError(KnownError):
    """The process may not open as many files as it needs."""


def needed(clients: int, brokers: int) -> int:
    """Return how many files a flow has open with so many Kafka clients at the most."""
    return _BASE + clients * _PER_BROKER * (brokers + _MORE_BROKERS)


def ensure(files: int) -> None:
    """Let this process open so many files; raises FileLimitError where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return
    if hard != resource.RLIM_INFINITY and hard < files:
        raise FileLimitError(
            f"this process may have {hard} files and sockets open, and needs {files}: raise the "
            f"hard limit (ulimit -Hn {files}, LimitNOFILE={files} in a systemd unit)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
