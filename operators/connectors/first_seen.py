"""Which record carried an event's id first: known to all processes through Redis."""

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from redis import Redis
from redis.exceptions import RedisError

from operators import metrics
from operators.batches import Int64s
from operators.connectors.redis import RedisUnavailableError
from operators.connectors.seen import FOUND, Packed, Seen
from operators.connectors.topic_ids import number

LOG: Final = logging.getLogger("millstream.redis")

_CALLS_A_ROUND_TRIP: Final = 20
_KEPT: Final = 200_000
_HOURS_AHEAD: Final = 24
_TRIES: Final = 20


class History(Protocol):
    """What is known for ever: the first records that a table has committed."""

    def committed(self) -> Mapping[int, int]:
        """Return by partition the last offset that the table accounts for."""
        ...

    def newest(self) -> int | None:
        """Return the newest event hour in the table, or one past it; None if it is empty."""
        ...

    def first(self, hours: Sequence[int]) -> Iterator[Seen]:
        """Yield the first records of these event hours."""
        ...

    def latest(self) -> Iterator[Seen]:
        """Yield the first records of at least the last two commits."""
        ...


def memory_of(flow: str, topic: str, topics: Mapping[str, str], owner: str) -> str:
    """Return the name of a flow's memory of a topic's ids.

    What is a duplicate must be a record of the flow's own tables and of this very topic, so the
    name has both: `owner` is the id of the table that the first records go to, and `topics` has
    the identities of topics.
    """
    return f"{flow}/{topic}/{number(owner, *topics.values()):016x}"


class RedisFirstSeen:
    """Keeps the coordinates of the first record of each (id, event hour).

    A plain SET NX would drop every replayed record; by its coordinates a record recognises
    itself. Ids are bucketed by event hour, a hash per bucket, so that a bucket expires as a
    whole, `ttl` seconds after the last record for it. A batch is one round trip.

    Redis is a cache here, and what it says counts only while it is known to be whole. All
    processes of a flow join a generation, which ends when the server loses its data or its
    life: each gives the new one what it has seen since the last commit, and a bucket is filled
    from `history` before its first use. What a process could not give because it died as well
    is in the last commits, which every process gives when it joins its first generation. So a
    loss costs time and no exactness but in one case, which is counted and logged: two records
    of one id in partitions of different processes, both later than the last commit, with the
    loss between them. The server must not evict keys.
    """

    def __init__(
        self, client: Redis, name: str, ttl: float, history: History | None = None
    ) -> None:
        """`name` sets flows apart that share a Redis."""
        self._client = client
        # Braces: in a cluster all keys of a flow live in one slot, as one script needs.
        self._prefix = f"millstream:{{{name}}}:first:"
        self._ttl = int(ttl * 1000)
        self._history = history
        folder = files(__package__)
        # Whole scripts each time: their text is small beside the ids, and a Redis that was
        # restarted needs no second round trip to be given them again.
        self._script = folder.joinpath("first_seen.lua").read_text("utf-8")
        self._refill = folder.joinpath("refill.lua").read_text("utf-8")
        self._generation = b""
        self._recent: list[Seen] = []
        self._trim_at = _KEPT
        # Threads of one process share its memory of what it has seen.
        self._lock = threading.Lock()

    def first(
        self, ids: pl.Series, hours: Int64s, partitions: Int64s, offsets: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Return (partition, offset) of each id's first record; ids of 1 to 255 bytes.

        To be called once an epoch at least, if with no ids, so that a loss is noticed before
        the next commit. Raises RedisUnavailableError when retries with backoff are used up.
        """
        packed = Packed.of(Seen(ids, hours, partitions, offsets))
        first_partitions, first_offsets = partitions.copy(), offsets.copy()
        with self._lock:
            try:
                found = self._first(packed)
            except RedisError as error:
                raise RedisUnavailableError(f"Redis: {error}") from error
            first_partitions[found["row"]] = found["partition"]
            first_offsets[found["row"]] = found["offset"]
            own = (first_partitions == partitions) & (first_offsets == offsets)
            self._remember(Seen(ids, hours, partitions, offsets).where(own))
        return first_partitions, first_offsets

    def _first(self, packed: Packed) -> npt.NDArray[Any]:
        """Ask until all buckets are whole: coordinates make a repeated question harmless."""
        for _ in range(_TRIES):
            answers = self._ask(packed)
            if answers is None:
                self._join()
                continue
            found, broken = answers
            if not broken:
                return found
            self._fill(broken)
        raise RedisUnavailableError("Redis loses its data again and again")

    def _key(self, hour: int) -> str:
        return f"{self._prefix}{hour}"

    @property
    def _generation_key(self) -> str:
        return f"{self._prefix}generation"

    def _ask(self, packed: Packed) -> tuple[npt.NDArray[Any], list[int]] | None:
        """Return what others carried first, and the hours not whole; None for a new generation."""
        asked: list[list[int]] = []
        with self._client.pipeline(transaction=False) as calls:
            for call in packed.calls():
                hours = [hour for hour, _ in call]
                keys = [self._generation_key, *map(self._key, hours)]
                parts = [part for _, each in call for part in each]
                calls.eval(self._script, len(keys), *keys, self._generation, self._ttl, *parts)
                asked.append(hours)
            answers: list[Any] = calls.execute()
        if any(answer is None for answer in answers):
            return None
        broken = {
            hour
            for hours, (_, *whole) in zip(asked, answers, strict=True)
            for hour, is_whole in zip(hours, whole, strict=True)
            if not is_whole
        }
        return np.frombuffer(b"".join(answer[0] for answer in answers), FOUND), sorted(broken)

    def _remember(self, seen: Seen) -> None:
        """Keep what no table holds yet; forget what the history has committed by now."""
        if self._history is None:
            return
        if len(seen):
            self._recent.append(seen)
        if sum(map(len, self._recent)) < self._trim_at:
            return
        done = self._history.committed()
        kept = []
        for each in self._recent:
            reached = np.full(int(each.partitions.max()) + 1, -1)
            for partition, offset in done.items():
                if partition < len(reached):
                    reached[partition] = offset
            left = each.where(each.offsets > reached[each.partitions])
            if len(left):
                kept.append(left)
        self._recent = kept
        self._trim_at = max(_KEPT, 2 * sum(map(len, kept)))

    def _join(self) -> None:
        """Join the server's generation, or start one, and give it what may be missing."""
        name = secrets.token_hex(8)
        generation: bytes = self._client.eval(
            self._refill, 1, self._generation_key, "join", self._ttl, name
        )
        first_time = not self._generation
        self._generation = generation
        given: list[Seen] = []
        if first_time and self._history is not None:
            given = list(self._history.latest())
        old = self._put("committed", given)
        doubtful = self._put("seen", self._recent)
        if old is None or doubtful is None:
            return  # lost again: the next question says so
        if not first_time:
            count = sum(map(len, self._recent))
            metrics.DEDUP_REFILLED.inc(count)
            LOG.warning("Redis lost its data; it was given the %d newest ids again", count)
        if doubtful:
            metrics.DEDUP_DOUBTFUL.inc(doubtful)
            LOG.error(
                "%d payments may be in silver twice: Redis lost its data between two records "
                "that came to different processes in one epoch", doubtful,
            )  # fmt: skip

    def _fill(self, hours: list[int]) -> None:
        """Make the buckets of these hours whole."""
        began, history = time.monotonic(), self._history
        newest = history.newest() if history else None
        old = [hour for hour in hours if newest is not None and hour <= newest]
        if len(old) < len(hours):
            # Time goes on: a stretch of hours that have no record yet costs one look.
            hours = [*hours, *range(hours[-1] + 1, hours[-1] + 1 + _HOURS_AHEAD)]
        count = 0
        for part in history.first(old) if history and old else ():
            count += len(part)
            if self._put("committed", [part]) is None:
                return
        mine = [each.where(np.isin(each.hours, hours)) for each in self._recent]
        if self._put("seen", mine) is None:
            return
        keys = [self._generation_key, *map(self._key, hours)]
        self._client.eval(self._refill, len(keys), *keys, "whole", self._ttl, self._generation)
        if count:
            metrics.DEDUP_REFILLED.inc(count)
            took = time.monotonic() - began
            LOG.warning("Redis lacked %d ids of %d hours: filled from the table in %.1f s",
                        count, len(old), took)  # fmt: skip

    def _put(self, step: str, parts: Sequence[Seen]) -> int | None:
        """Put records in; return how many clashed, None if the generation has gone."""
        clashes = 0
        for part in parts:
            calls = list(Packed.of(part).calls()) if len(part) else []
            for start in range(0, len(calls), _CALLS_A_ROUND_TRIP):
                with self._client.pipeline(transaction=False) as pipeline:
                    for call in calls[start : start + _CALLS_A_ROUND_TRIP]:
                        keys = [self._generation_key, *(self._key(hour) for hour, _ in call)]
                        each = [part for _, parts in call for part in parts[:3]]
                        pipeline.eval(
                            self._refill,
                            len(keys),
                            *keys,
                            step,
                            self._ttl,
                            self._generation,
                            *each,
                        )
                    answers: list[int | None] = pipeline.execute()
                for answer in answers:
                    if answer is None:
                        return None
                    clashes += answer
        return clashes
