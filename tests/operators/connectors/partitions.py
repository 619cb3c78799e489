"""Calling a source's partitions as Bytewax does."""

import time


def poll(part, done, *others, seconds=30.0) -> list:
    """Call the partition as Bytewax does until what came suffices; what `others` bring is lost."""
    found, deadline = [], time.monotonic() + seconds
    while not done(found):
        assert time.monotonic() < deadline, found
        found += part.next_batch()
        for other in others:
            list(other.next_batch())
        time.sleep(0.002)
    return found


def values(batches) -> list:
    return [value for batch in batches for value in batch.values]


def read(part, n: int) -> list:
    return poll(part, lambda found: sum(map(len, found)) >= n)


def read_all(part) -> list:
    """Call a partition of a bounded input until it has no more, an epoch with every call."""
    found, deadline = [], time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            found += part.next_batch()
        except StopIteration:
            return found
        part.snapshot()
        time.sleep(0.002)
    raise AssertionError(found)
