"""Which record carried an event's id first: known to all processes through Redis."""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from redis import Redis

from operators import metrics
from operators.columns.arrays import Int64s
from operators.connectors.outage import PATIENCE
from operators.connectors.redis.client import (
    LIFE,
    RedisUnavailableError,
    executed,
    outage_of,
    waited,
)
from operators.connectors.redis.dedup_before import KeptBefore
from operators.connectors.redis.dedup_ids import FOUND, NOTHING, History, Packed, Seen
from operators.connectors.redis.scripts import script
from operators.connectors.topic_identity import number

LOG: Final = logging.getLogger("millstream.redis")

_CALLS_A_ROUND_TRIP: Final = 20
_KEPT: Final = 200_000
_HOURS_AHEAD: Final = 24
_TRIES: Final = 20
_HOURS_KNOWN: Final = 48
# What a bucket is known by that may be any, and one that must be given what is not in a table.
_ANY: Final = b""
_TO_BE_GIVEN: Final = b"-"


def memory_of(flow: str, topic: str, topics: Mapping[str, str], owner: str) -> str:
    """Return the name of a flow's memory of a topic's ids.

    What is a duplicate must be a record of the flow's own tables and of this very topic, so the
    name has both: `owner` is the id of the table that the first records go to, and `topics` has
    the identities of topics.
    """
    return f"{flow}/{topic}/{number(owner, *topics.values()):016x}"


class RedisDedupStore:
    """Keeps the coordinates of the first record of each (id, event hour).

    A plain SET NX would drop every replayed record; by its coordinates a record recognises
    itself. Ids are bucketed by event hour, a hash per bucket, so that a bucket expires as a
    whole, `ttl` seconds after the last record for it. A batch is one round trip.

    Redis is a cache here, and what it says counts only while it is known to be whole. All
    processes of a flow join a generation, which ends when the server loses its data or its
    life; a bucket is filled from `history` before its first use in one. Each process knows by
    whose filling the buckets are that it has put something in since the last commit; one that
    was lost and filled by another is given that again before it is asked. What a process could
    not give because it died as well is in the last commits, which every process gives when it
    joins its first generation. So a loss, of all or of a bucket, costs time and no exactness
    but in one case, which is counted and logged: two records of one id in partitions of
    different processes, both later than the last commit, with the loss between them.

    While Redis is away or refuses, the flow waits for it, up to `patience` seconds.
    """

    def __init__(
        self,
        client: Redis,
        name: str,
        ttl: float,
        history: History | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """`name` sets flows apart that share a Redis."""
        self._client, self._outage, self._patience = client, outage_of(client), patience
        # Braces: in a cluster all keys of a flow live in one slot, as one script needs.
        self._prefix = f"millstream:{{{name}}}:"
        self._ttl = int(ttl * 1000)
        self._history = history
        self._script = LIFE + script("records", "first_seen")
        self._refill = LIFE + script("records", "refill")
        self._before = None if history else KeptBefore(client, self._prefix, self._ttl)
        self._generation = b""
        # What no table holds yet, and by hour what its buckets were known by.
        self._recent: list[Seen] = []
        self._known: dict[int, bytes] = {}
        self._trim_at, self._trim_hours = _KEPT, _HOURS_KNOWN
        # Threads of one process share its memory of what it has seen.
        self._lock = threading.Lock()

    def first(
        self, ids: pl.Series, hours: Int64s, partitions: Int64s, offsets: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Return (partition, offset) of each id's first record; ids of 1 to 255 bytes.

        To be called once an epoch at least, if with no ids, so that a loss is noticed before
        the next commit. Raises RedisUnavailableError if Redis is away for too long, or cannot
        be worked with.
        """
        seen = Seen(ids, hours, partitions, offsets)
        packed = Packed.of(seen)
        first_partitions, first_offsets = partitions.copy(), offsets.copy()
        with self._lock:
            # Coordinates make a repeated question harmless.
            found, whole = waited(
                self._client, self._outage, lambda: self._first(seen, packed), self._patience
            )
            first_partitions[found["row"]] = found["partition"]
            first_offsets[found["row"]] = found["offset"]
            own = (first_partitions == partitions) & (first_offsets == offsets)
            self._remember(seen.where(own), whole)
        return first_partitions, first_offsets

    def _first(self, seen: Seen, packed: Packed) -> tuple[npt.NDArray[Any], dict[int, bytes]]:
        """Ask until all buckets are whole; return also what they are known by."""
        if self._before is not None:
            self._before.adopt(seen, packed)
        for _ in range(_TRIES):
            answers = self._ask(packed)
            if answers is None:
                self._join()
                continue
            found, whole = answers
            broken = [hour for hour, by in whole.items() if not by]
            others = {h: by for h, by in whole.items() if by != self._known.get(h, by)}
            if broken:
                self._fill(sorted(broken))
            elif others:
                self._give(others)
            else:
                return found, whole
        raise RedisUnavailableError(
            f"{self._outage.what} loses its data again and again: look for what empties it, "
            "deletes keys or restarts it"
        )

    def _key(self, hour: int) -> str:
        return f"{self._prefix}firsts:{hour}"

    @property
    def _generation_key(self) -> str:
        return f"{self._prefix}firsts:generation"

    def _ask(self, packed: Packed) -> tuple[npt.NDArray[Any], dict[int, bytes]] | None:
        """Return what others carried first, and by hour what its bucket is known by.

        That is empty where it is not whole. None for a new generation.
        """
        hours: list[int] = []
        calls = self._client.pipeline(transaction=False)
        # Also the buckets that hold what no table does: their loss must be noticed in time.
        each_call = list(packed.calls())
        unasked = self._known.keys() - {hour for call in each_call for hour, _ in call}
        each_call[0] += [(hour, NOTHING) for hour in sorted(unasked)]
        for call in each_call:
            hours += [hour for hour, _ in call]
            keys = [self._generation_key, *(self._key(hour) for hour, _ in call)]
            parts = [
                part for hour, sent in call for part in (self._known.get(hour, _ANY), sent)
            ]
            calls.eval(self._script, len(keys), *keys, self._generation, self._ttl, *parts)
        answers = executed(calls)
        if any(answer is None for answer in answers):
            return None
        names = (by for _, *whole in answers for by in whole)
        # An hour that two calls have, and that was lost in between, is not whole.
        whole: dict[int, bytes] = {}
        for hour, by in zip(hours, names, strict=True):
            whole[hour] = by if whole.get(hour, by) == by else b""
        return np.frombuffer(b"".join(answer[0] for answer in answers), FOUND), whole

    def _remember(self, seen: Seen, whole: Mapping[int, bytes]) -> None:
        """Keep what no table holds yet; forget what the history has committed by now."""
        if self._history is None:
            return
        if len(seen):
            self._recent.append(seen)
            self._known.update(whole)
        size = sum(map(len, self._recent))
        if size < self._trim_at and len(self._known) < self._trim_hours:
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
        still = set().union(*map(_hours_of, kept))
        self._known = {hour: by for hour, by in self._known.items() if hour in still}
        self._trim_hours = max(_HOURS_KNOWN, 2 * len(self._known))
        self._trim_at = max(_KEPT, 2 * sum(map(len, kept)))

    def _join(self) -> None:
        """Join the server's generation, or start one, and give it what may be missing."""
        name = secrets.token_hex(8)
        keys = self._generation_key, f"{self._prefix}first:generation"
        generation: bytes = self._client.eval(self._refill, 2, *keys, "join", self._ttl, name)
        first_time = not self._generation
        latest = self._history.latest() if first_time and self._history else ()
        if self._put(generation, "committed", list(latest)) is None:
            return  # lost again: the next question says so
        self._generation = generation
        self._known = dict.fromkeys(self._known, _TO_BE_GIVEN)
        if not first_time:
            LOG.warning("Redis lost its data; it is given back what was put in")

    def _give(self, others: Mapping[int, bytes]) -> None:
        """Give buckets that others made whole what no table holds yet."""
        if self._put_recent(list(others)) is not None:
            self._known.update(others)

    def _put_recent(self, hours: Sequence[int]) -> int | None:
        """Put in what no table holds yet of these hours; count what may have come twice."""
        mine = [each.where(np.isin(each.hours, hours)) for each in self._recent]
        doubtful = self._put(self._generation, "seen", mine)
        if doubtful is None:
            return None
        count = sum(map(len, mine))
        if count:
            metrics.DEDUP_REFILLED.inc(count)
            LOG.warning("Redis lost ids that no table has yet: given again, %d", count)
        if doubtful:
            metrics.DEDUP_DOUBTFUL.inc(doubtful)
            LOG.error(
                "%d payments may be in silver twice: Redis lost its data between two records "
                "that came to different processes in one epoch", doubtful,
            )  # fmt: skip
        return count

    def _fill(self, hours: list[int]) -> None:
        """Make the buckets of these hours whole."""
        began, history = time.monotonic(), self._history
        newest = history.newest() if history else None
        old = [hour for hour in hours if newest is not None and hour <= newest]
        if len(old) < len(hours):
            # Time goes on: a stretch of hours that have no record yet costs one look.
            hours = [*hours, *range(hours[-1] + 1, hours[-1] + 1 + _HOURS_AHEAD)]
        name = secrets.token_hex(4)
        marks = self._step("begin", hours, name)
        if marks is None:
            return
        count = 0
        for part in history.first(old) if history and old else ():
            count += len(part)
            if self._put(self._generation, "committed", [part]) is None:
                return
        if self._put_recent(hours) is None:
            return
        self._step("whole", hours, name, *marks)
        mine = self._generation + name.encode()
        for hour, mark in zip(hours, marks, strict=True):
            if hour in self._known:
                self._known[hour] = mine if mark.startswith(b"?") else mark
        if count:
            metrics.DEDUP_REFILLED.inc(count)
            took = time.monotonic() - began
            LOG.warning("Redis lacked %d ids of %d hours: filled from the table in %.1f s",
                        count, len(old), took)  # fmt: skip

    def _step(self, step: str, hours: Sequence[int], *arguments: bytes | str) -> Any:
        keys = [self._generation_key, *map(self._key, hours)]
        return self._client.eval(
            self._refill, len(keys), *keys, step, self._ttl, self._generation, *arguments
        )

    def _put(self, generation: bytes, step: str, parts: Sequence[Seen]) -> int | None:
        """Put records in; return how many clashed, None if the generation has gone."""
        clashes = 0
        for part in parts:
            calls = list(Packed.of(part).calls()) if len(part) else []
            for start in range(0, len(calls), _CALLS_A_ROUND_TRIP):
                pipeline = self._client.pipeline(transaction=False)
                for call in calls[start : start + _CALLS_A_ROUND_TRIP]:
                    keys = [self._generation_key, *(self._key(hour) for hour, _ in call)]
                    sent = (records for _, records in call)
                    pipeline.eval(
                        self._refill, len(keys), *keys, step, self._ttl, generation, *sent
                    )
                for answer in executed(pipeline):
                    if answer is None:
                        return None
                    clashes += answer
        return clashes


def _hours_of(seen: Seen) -> set[int]:
    return set(np.unique(seen.hours).tolist())
