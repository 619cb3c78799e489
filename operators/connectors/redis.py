"""Redis: which record carried an event's id first."""

import logging
import time
from importlib.resources import files
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from operators.batches import Int64s

LOG: Final = logging.getLogger("millstream.redis")

_IDS_A_CALL: Final = 5_000
_PLACE: Final = np.dtype([("partition", ">u4"), ("offset", ">u8")])
_FOUND: Final = np.dtype([("row", ">u4"), ("partition", ">u4"), ("offset", ">u8")])


class RedisUnavailableError(RuntimeError):
    """Redis did not answer in time."""


def connect(url: str, timeout: float) -> "Redis[bytes]":
    """Return a client once Redis answers; raises RedisUnavailableError after `timeout` s."""
    retry = Retry(ExponentialBackoff(cap=5, base=0.1), retries=12)
    client: Redis[bytes] = Redis.from_url(
        url,
        socket_timeout=10,
        socket_connect_timeout=5,
        retry=retry,
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    probe: Redis[bytes] = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    deadline, pause = time.monotonic() + timeout, 0.1
    while True:
        try:
            probe.ping()
            return client
        except RedisError as error:
            where = f"{client.connection_pool.connection_kwargs.get('host', 'socket')}"
            if time.monotonic() + pause > deadline:
                raise RedisUnavailableError(
                    f"Redis at {where}: {error} (tried for {timeout:.0f} s); check that it runs "
                    "and MILLSTREAM_REDIS_URL"
                ) from error
            LOG.warning("waiting for Redis at %s: %s", where, error)
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
        finally:
            probe.close()


class RedisFirstSeen:
    """Keeps the coordinates of the first record of each (id, event hour).

    A plain SET NX would drop every replayed record; by its coordinates a record recognises
    itself. Ids are bucketed by event hour, a hash per bucket, so that a bucket expires as a
    whole, `ttl` seconds after the last record for it. A batch is one round trip.
    """

    def __init__(self, client: "Redis[bytes]", name: str, ttl: float) -> None:
        """`name` sets flows apart that share a Redis."""
        self._client = client
        # Braces: in a cluster all buckets of a flow live in one slot, as one script needs.
        self._prefix = f"millstream:{{{name}}}:first:"
        self._ttl = int(ttl * 1000)
        self._script = files(__package__).joinpath("first_seen.lua").read_text("utf-8")

    def first(
        self, ids: pl.Series, hours: Int64s, partitions: Int64s, offsets: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Return (partition, offset) of each id's first record; ids of 1 to 255 bytes.

        Raises RedisUnavailableError when retries with backoff are used up.
        """
        n = len(ids)
        order = np.argsort(hours, kind="stable")
        if n > 1 and (np.diff(hours) < 0).any():
            ids, hours = ids[order], hours[order]
            partitions, offsets = partitions[order], offsets[order]
        else:
            order = np.arange(n)
        arrow = ids.to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets_buffer, data = arrow.buffers()
        ends = np.frombuffer(offsets_buffer, np.int64)[arrow.offset : arrow.offset + n + 1]
        text = memoryview(data)
        lengths = np.diff(ends).astype(np.uint8)
        places = np.empty(n, _PLACE)
        places["partition"], places["offset"] = partitions, offsets
        rows = np.arange(n, dtype=">u4")
        first_partitions, first_offsets = partitions.copy(), offsets.copy()
        with self._client.pipeline(transaction=False) as calls:
            for start in range(0, n, _IDS_A_CALL):
                stop = min(start + _IDS_A_CALL, n)
                keys, arguments = self._call(
                    start, stop, hours, lengths, ends, text, places, rows
                )
                # The whole script each time: its text is small beside the ids, and a Redis
                # that was restarted needs no second round trip to be given it again.
                calls.eval(self._script, len(keys), *keys, *arguments)
            try:
                answers: list[Any] = calls.execute()
            except RedisError as error:
                raise RedisUnavailableError(f"Redis: {error}") from error
        found = np.frombuffer(b"".join(answers), _FOUND)
        first_partitions[found["row"]] = found["partition"]
        first_offsets[found["row"]] = found["offset"]
        back_partitions, back_offsets = np.empty_like(partitions), np.empty_like(offsets)
        back_partitions[order], back_offsets[order] = first_partitions, first_offsets
        return back_partitions, back_offsets

    def _call(
        self, start: int, stop: int, hours: Int64s, lengths: npt.NDArray[np.uint8],
        ends: Int64s, text: memoryview, places: npt.NDArray[Any], rows: npt.NDArray[Any],
    ) -> tuple[list[str], list[Any]]:  # fmt: skip
        """Return the script's keys and arguments for rows [start, stop), sorted by hour."""
        cuts = start + 1 + np.flatnonzero(np.diff(hours[start:stop]))
        bounds = [start, *cuts.tolist(), stop]
        keys, arguments = [], [self._ttl]
        for low, high in zip(bounds[:-1], bounds[1:], strict=True):
            keys.append(f"{self._prefix}{hours[low]}")
            arguments += [
                lengths[low:high].tobytes(),
                bytes(text[ends[low] : ends[high]]),
                places[low:high].tobytes(),
                rows[low:high].tobytes(),
            ]
        return keys, arguments
