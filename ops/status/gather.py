"""Gathering a status: from what is outside of the flows' processes, and whatever runs or not."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from flows.catalog import Flow
from flows.enforced.loading import upkeeps
from flows.streams import CHARGEBACKS, upkeep_of
from operators.connectors.delta.table import StorageUnavailableError
from operators.event_time.watermarks import ended
from operators.records.batches import NO_WATERMARK
from ops.status.flow_status import (
    END,
    CommitStatus,
    FlowStatus,
    Letters,
    Mark,
    Rate,
    Status,
    TableStatus,
    TopicStatus,
)
from ops.status.letters import letters, together
from ops.status.problems import of_all, of_flow
from ops.status.scraped import Place, scrape
from ops.status.seen import Seen, see
from ops.stores import Store
from ops.topics_now import ask

_COMMITS: Final = 50
_RATE_OVER: Final = timedelta(minutes=10)
_ALIVE: Final = timedelta(minutes=1)
_AT_ONCE: Final = 4
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def gather(flows: Sequence[Flow], stores: Sequence[Store], metrics: Iterable[str]) -> Status:
    """Look at everything once; raises sqlite3.Error of a recovery store that cannot be read."""
    owned = {each.flow: each for each in stores if each.flow is not None}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        scraped = {each.flow: each for each in pool.map(scrape, metrics) if each is not None}
        seen = list(
            pool.map(
                lambda flow: see(flow, owned.get(flow.name), scraped.get(flow.name)), flows
            )
        )
    topics = {topic for flow in flows for topic in flow.topics}
    cluster = ask(flows[0].settings.kafka, topics, {flow.group: flow.topics for flow in flows})
    seen = [replace(each, cluster=cluster) for each in seen]
    now = datetime.now(UTC)
    found = [status_of(each, now) for each in seen]
    return Status(now, cluster.servers, cluster.why, found, of_all(cluster, stores, found))


def status_of(seen: Seen, now: datetime) -> FlowStatus:
    """Return what there is to say of a flow."""
    flow = seen.flow
    position, whose = seen.position
    topics = [_topic(seen, topic, position, whose) for topic in flow.topics]
    of_table = upkeeps() if flow.enforces else upkeep_of
    found = FlowStatus(
        flow.name,
        _state(seen, now),
        flow.command,
        None if seen.store is None else str(seen.store.directory),
        None if seen.scraped is None else seen.scraped.where,
        None if seen.scraped is None else seen.scraped.state,
        topics,
        _rate(seen),
        None if flow.enforces else _mark(seen),
        [
            TableStatus(
                each.table.name, each.version, each.files,
                each.small(of_table(each.table.name).target), each.rows, each.size, each.written,
                each.newest,
            )
            for each in seen.looks
        ],
        _letters(seen, now),
        [
            CommitStatus(
                commit.at, each.table.name, commit.version, commit.rows or 0, commit.epoch,
                commit.run, commit.release,
            )
            for each, commit in seen.commits[:_COMMITS]
        ],
    )  # fmt: skip
    found.problems.extend(of_flow(seen, found, now))
    return found


def _state(seen: Seen, now: datetime) -> str:
    if seen.scraped is not None or (seen.store is not None and seen.store.in_use):
        return "running"
    if seen.store is not None:
        return "stopped"
    if seen.commits and now - seen.commits[0][1].at < _ALIVE:
        return "running"
    return "unknown" if seen.position[0] or seen.looks else "never run"


def _topic(seen: Seen, name: str, position: dict[Place, int], whose: str) -> TopicStatus:
    own = {p: offset for (topic, p), offset in sorted(position.items()) if topic == name}
    topic = seen.cluster.topics.get(name)
    if topic is None:
        return TopicStatus(name, own, whose)
    return TopicStatus(name, own, whose, topic.ends, topic.firsts, topic.recent)


def _rate(seen: Seen) -> Rate | None:
    """Return the rate by the frontiers of the newest commits, of whichever table."""
    commits = [commit for _, commit in seen.commits]
    if not commits:
        return None
    places: dict[Place, int] = {}
    epochs: dict[tuple[str, int | None], tuple[datetime, dict[Place, int]]] = {}
    for commit in reversed(commits):
        for place, offset in seen.offsets_of(commit).items():
            places[place] = max(offset, places.get(place, 0))
        if commits[0].at - commit.at <= _RATE_OVER:
            # Tables of one epoch are committed side by side.
            at, _ = epochs.get((commit.run, commit.epoch), (commit.at, {}))
            epochs[commit.run, commit.epoch] = at, dict(places)
    points = [*epochs.values()]
    (began, first), (until, last) = points[0], points[-1]
    seconds = (until - began).total_seconds()
    read = sum(last[place] - offset for place, offset in first.items())
    return Rate(read / seconds, seconds, until) if seconds > 0 else None


def _mark(seen: Seen) -> Mark | None:
    """Return the watermark of the last epoch, and who holds it: by the metrics, or the store."""
    tracker = seen.tracker
    marks = [each.frontier.watermark for each in seen.looks]
    known = max(marks, default=NO_WATERMARK)
    held = {} if seen.scraped is None else seen.scraped.held
    if tracker is None or tracker.flow.waits_for is None:
        if known == NO_WATERMARK:
            return None
        place, seconds = max(held.items(), key=lambda each: each[1], default=(None, 0.0))
        if place is None or not seconds:
            return Mark(_time(known))
        return Mark(_time(known), *place, held=seconds)
    waits = tracker.flow.waits_for
    others = [each.watermark for each in tracker.flow.seen if each is not waits]
    others = [each for each in others if NO_WATERMARK not in (each, waits.watermark)]
    others = [each for each in others if each > waits.watermark]
    place = (waits.topic, waits.partition)
    ahead = (min(others) - waits.watermark) / 1e6 if others else None
    return Mark(_time(tracker.flow.current), *place, held=held.get(place), ahead=ahead)


def _time(micros: int) -> datetime | None:
    """Return a watermark as a time: none if there is none, the last one for the end of all."""
    if micros == NO_WATERMARK:
        return None
    return END if ended(micros) else _EPOCH + timedelta(microseconds=micros)


def _letters(seen: Seen, now: datetime) -> Letters | None:
    looks = {each.table.name: each for each in seen.looks}
    flow, own = seen.flow, seen.flow.own or CHARGEBACKS
    pairs = [(flow.quarantine, [own.silver, own.duplicates])]
    if flow.enforces:
        pairs = [(each.quarantine, [each.silver]) for each in flow.reads]
    try:
        found = [
            letters(
                looks[refused.name], [looks[t.name] for t in others if t.name in looks], now
            )
            for refused, others in pairs
            if refused is not None and refused.name in looks
        ]
    except StorageUnavailableError as error:
        seen.unreadable.append(str(error))
        return None
    return together(found) if found else None
