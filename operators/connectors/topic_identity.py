"""A topic that is not the one that was read before: how that is told, without any client."""

import hashlib
from typing import Final

from operators.errors import KnownError

HOW_TO_GO_ON: Final = (
    "To read it, give MILLSTREAM_DELTA_ROOT and the recovery directory (-r) new, empty folders; "
    "the old tables stay as they are, what the old topic held. If it should have been another "
    "topic or other brokers, mend MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS or the topic's setting"
)
"""What to do about a topic that is not the one that was read before."""


class TopicChangedError(KnownError):
    """A topic is not the one that was read before, though it has its name."""


def number(*names: str) -> int:
    """Return names as a number of 63 bits, as a table's `txn` can hold it."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
