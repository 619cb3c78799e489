"""Seen: all that there is to know of a flow from outside of its processes, before it is judged."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from flows.catalog import Flow
from operators.connectors import recovery
from operators.connectors.delta.commits import Commit
from operators.connectors.delta.look import Look, look
from operators.connectors.delta.table import Fence, StorageUnavailableError
from operators.event_time.frontier import Tracker
from operators.records.tables import Table
from ops.status.scraped import Place, Scraped
from ops.stores import Store
from ops.topics_now import Cluster

_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Seen:
    """A flow with its tables that are there, and what its recovery store and brokers tell.

    `unreadable` says why of tables that are not known. `offsets` are the recovery store's next
    ones, and `states` those of tables in it.
    """

    flow: Flow
    looks: list[Look]
    unreadable: list[str]
    store: Store | None = None
    scraped: Scraped | None = None
    offsets: Mapping[Place, int] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=Cluster)

    @cached_property
    def commits(self) -> list[tuple[Look, Commit]]:
        """The newest commits of the flow's rows, the newest first."""
        found = [
            (each, commit)
            for each in self.looks
            for commit in each.commits
            if commit.flow == self.flow.name and commit.rows
        ]
        return sorted(found, key=lambda pair: pair[1].at, reverse=True)

    @cached_property
    def told(self) -> dict[Place, int]:
        """The next offsets by what all tables account for together."""
        found: dict[Place, int] = {}
        for each in self.looks:
            for place, offset in each.frontier.offsets.items():
                found[place] = max(offset + 1, found.get(place, 0))
        return found

    @cached_property
    def position(self) -> tuple[dict[Place, int], str]:
        """Where the flow is, and who knows it."""
        if self.offsets or self.told:
            places = self.offsets.keys() | self.told.keys()
            both = {p: max(self.offsets.get(p, 0), self.told.get(p, 0)) for p in places}
            return both, "recovery store" if self.offsets else "tables"
        group = self.cluster.groups.get(self.flow.group, {})
        return group, "consumer group" if group else ""

    @cached_property
    def tracker(self) -> Tracker | None:
        """The partitions' watermarks as of the last epoch; None where no store tells them."""
        newest = next(iter(self.states.values()), None)
        if newest is None:
            return None
        counts = {topic: count for topic, _, count, _ in newest["flow"]["seen"]}
        tracker = Tracker(counts)
        if counts:
            tracker.resume(newest["flow"])
        return tracker

    def offsets_of(self, commit: Commit) -> dict[Place, int]:
        """Return the next offsets by a commit's fence."""
        fence = Fence.told(self.flow.name, commit.fence)
        return {
            (topic, p): commit.fence[f"{self.flow.name}/{topic}/{p}"] + 1
            for topic, p in fence.partitions
        }


def see(flow: Flow, store: Store | None, scraped: Scraped | None) -> Seen:
    """Look at a flow's recovery store, and then at its tables, which are never behind that.

    The brokers are to be asked behind it: by then topics reach as far as tables do. Raises
    sqlite3.Error of a store that cannot be read.
    """
    offsets: dict[Place, int] = {}
    states: dict[str, dict[str, Any]] = {}
    if store is not None:
        for topic in flow.topics:
            known = recovery.offsets(store.directory, topic)
            offsets |= {(topic, p): at for p, at in known.items() if at is not None}
        states = recovery.states(store.directory, [each.name for each in flow.tables])

    def at(table: Table) -> Look | StorageUnavailableError | None:
        try:
            return look(flow.settings.delta_root, table, flow.name, list(offsets))
        except StorageUnavailableError as error:
            return error

    # Each waits for storage that is away, as it would for one that is far.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(at, flow.tables))
    looks = [each for each in found if isinstance(each, Look)]
    unreadable = [str(each) for each in found if isinstance(each, StorageUnavailableError)]
    return Seen(flow, looks, unreadable, store, scraped, offsets, states)
