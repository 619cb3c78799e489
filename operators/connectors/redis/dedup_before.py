"""Ids that the release before kept in Redis, for flows that have no table of them."""

from collections.abc import Sequence
from typing import Final

from redis import Redis

from operators.connectors.redis.client import executed
from operators.connectors.redis.dedup_ids import Packed, Seen
from operators.connectors.redis.scripts import script

_IDS_A_CALL: Final = 1_000


class KeptBefore:
    """The buckets of the release before, which expire by themselves; they are only read.

    Flows with a table need none of it: their buckets are filled from the table.
    """

    def __init__(self, client: Redis, prefix: str, ttl: int) -> None:
        """`prefix` is what all names of buckets begin with, `ttl` in ms."""
        self._client, self._prefix, self._ttl = client, prefix, ttl
        self._script = script("records", "adopt")
        self._is_there: dict[int, bool] = {}

    def adopt(self, seen: Seen, packed: Packed) -> None:
        """Take over what was known of these ids; to be called before they are asked for."""
        hours = packed.distinct_hours()
        self._look_for([hour for hour in hours if hour not in self._is_there])
        for hour in hours:
            if self._is_there[hour]:
                self._adopt(hour, seen.where(seen.hours == hour))

    def _look_for(self, hours: Sequence[int]) -> None:
        """Find out which buckets of hours are there, in one round trip: a topic of old has many."""
        if not hours:
            return
        pipeline = self._client.pipeline(transaction=False)
        for hour in hours:
            pipeline.hget(f"{self._prefix}first:{hour}", "")
        for hour, mark in zip(hours, executed(pipeline), strict=True):
            self._is_there[hour] = mark is not None

    def _adopt(self, hour: int, seen: Seen) -> None:
        keys = f"{self._prefix}firsts:{hour}", f"{self._prefix}first:{hour}"
        for start in range(0, len(seen), _IDS_A_CALL):
            part = seen.part(start, start + _IDS_A_CALL)
            ids = part.ids.to_list()
            for call in Packed.of(part).calls():
                for _, sent in call:
                    self._client.eval(self._script, 2, *keys, self._ttl, sent, *ids)
