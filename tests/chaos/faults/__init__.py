"""The faults, one function each: run flows under it `times` times, compare all tables."""

from collections.abc import Callable
from typing import Final

from tests.chaos.faults import (
    changes,
    enforced_letters,
    letters,
    processes,
    servers,
    slices,
    storage,
)
from tests.chaos.world import Result, World

Fault = Callable[[World, Result, int], None]

CHANGES: Final = "rules, lists, labels change"
REPAIRS: Final = "bad records replayed"
ENFORCED: Final = "bad records of an enforced topic replayed"
SLICES: Final = "slices of the enforce flow"
OF_PAYMENTS: Final = (CHANGES, REPAIRS, ENFORCED, SLICES)
"""Those that are not of every stream; they run once, beside payments."""

FAULTS: Final[dict[str, tuple[Fault, int]]] = {
    "kill -9": (processes.kill, 500),
    CHANGES: (changes.kill, 180),
    REPAIRS: (letters.repaired, 60),
    ENFORCED: (enforced_letters.repaired, 60),
    SLICES: (slices.kill, 100),
    "fresh clusters": (processes.starts, 40),
    "SIGTERM": (processes.sigterm, 20),
    "broker of three killed": (servers.brokers, 20),
    "Redis stopped for 30 s": (servers.redis_stopped, 10),
    "Redis restarted with its data": (servers.redis_restarted, 10),
    "Redis restarted empty": (servers.redis_emptied, 10),
    "disk refuses writes": (storage.disk, 50),
    "S3 fails": (storage.object_store, 50),
    "two copies at once": (processes.two_copies, 10),
    "recovery store or table lost": (storage.recovery_lost, 10),
    "partitions added": (servers.partitions_added, 3),
}
"""Each fault by name, and how often a full run has it."""
