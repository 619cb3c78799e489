"""Problems: what is open, each with what to do about it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from flows.sources import refuse_shorter
from operators.connectors import recovery_owner
from operators.connectors.delta.accounts import fenced, refuse_behind, refuse_restored
from operators.connectors.delta.look import Look
from operators.connectors.delta.table import Fence
from operators.connectors.kafka.client import OffsetGoneError
from operators.connectors.kafka.faults import NO_TOPIC
from operators.errors import KnownError
from ops.advice import divided
from ops.status.flow_status import FlowStatus, Problem, TopicStatus
from ops.status.seen import Seen
from ops.stores import Store
from ops.topics_now import RECENT, Cluster, refuse_gone

MANY_REJECTS: Final = 0.05
"""The share of refused records in an hour from which on it is a problem."""

HELD_SECONDS: Final = 60.0
"""For how long the watermark may wait for one partition."""


SMALL_FILES: Final = 1_000
"""How many files that could be put together are too many."""


def of_all(
    cluster: Cluster, stores: Sequence[Store], flows: Sequence[FlowStatus]
) -> list[Problem]:
    """Return what concerns no single flow."""
    found = []
    if cluster.why is not None:
        found.append(told(cluster.why))
    for each in stores:
        if each.flow is None:
            found.append(
                Problem(
                    f"there is no recovery store in {each.directory}",
                    "a start with it makes state of the tables' rows, or reads the topic anew; if "
                    "the flow has had one, name its folder with -r",
                )
            )
    if cluster.why is None and all(each.state == "never run" for each in flows):
        found.append(
            Problem(
                "no flow has run with these settings",
                "look at MILLSTREAM_DELTA_ROOT and at the topics' names, or start one: "
                f"{flows[0].command} -r state",
            )
        )
    return found


def told(text: str) -> Problem:
    """Return the problem that a line is of."""
    return Problem(*divided(text))


def of_flow(seen: Seen, status: FlowStatus, now: datetime) -> list[Problem]:
    """Return a flow's."""
    return list(_of_flow(seen, status, now))


def _of_flow(seen: Seen, status: FlowStatus, now: datetime) -> Iterator[Problem]:
    if seen.unreadable:
        first = told(seen.unreadable[0])
        more = len(seen.unreadable) - 1
        others = f"; nor can {more} other tables be read" if more else ""
        yield Problem(first.problem + others, first.to_do)
    if status.state == "never run":
        return
    yield from _of_identity(seen)
    if seen.cluster.why is None:
        for each in status.topics:
            yield from _of_topic(status, each)
    yield from _of_progress(seen, status, now)
    if status.mark is not None and (status.mark.held or 0) >= HELD_SECONDS:
        place = f"{status.mark.topic}/{status.mark.partition}"
        yield Problem(
            f"windows wait for partition {place} since {status.mark.held:,.0f} s",
            "its records are older than the others': see whether its producer is behind; the "
            "flow's log says more",
        )
    if status.health == "stuck":
        yield Problem(
            "a process stands still: no epoch has ended for half of MILLSTREAM_STALL_TIMEOUT",
            "see its log for what it waits for; the watchdog ends it with status 75 at the whole, "
            "and it is to be started again",
        )
    for topic, partition in seen.scraped.paused if seen.scraped else ():
        yield Problem(
            f"{topic}/{partition} is paused, but for a few records now and then: most are refused",
            "see why with millstream dlq summary, and mend the schema, the contract or the "
            "producer",
        )
    letters = status.letters
    if letters is not None and letters.last_hour > MANY_REJECTS * letters.records:
        share = letters.last_hour / letters.records
        yield Problem(
            f"{share:.0%} of the last hour's records were refused "
            f"({letters.last_hour:,} of {letters.records:,})",
            "see why, and tell who sends them: millstream dlq summary",
        )
    for table in status.tables:
        if table.to_compact >= SMALL_FILES:
            yield Problem(
                f"{table.table} has {table.to_compact:,} small files, each to be opened by readers",
                f"millstream tables compact {table.table}",
            )


def _of_identity(seen: Seen) -> Iterator[Problem]:
    """Tell what a start would refuse, by the very checks of a start."""
    there = seen.cluster.topics
    identities = {name: there[name].identity for name in seen.flow.topics if name in there}
    places = [(name, p) for name in identities for p in there[name].partitions]
    checks: list[Callable[[], object]] = []
    if len(identities) == len(seen.flow.topics):
        for names, tables in seen.flow.made_of:
            own = {each.name for each in tables}
            fence = Fence(
                seen.flow.name,
                [place for place in places if place[0] in names],
                {name: identities[name] for name in names},
            )
            checks += [_other_topic(x, fence) for x in seen.looks if x.table.name in own]
        if seen.store is not None:
            checks.append(_other_owner(seen.store, seen.flow.name, identities))
        for name in identities:
            checks.append(_shorter(name, there[name].ends, seen.looks))
    for each in seen.looks:
        fence = Fence(seen.flow.name, list(each.frontier.offsets))
        checks.append(_restored(each, fence))
        checks.append(_behind(each, seen.states))
    said: set[str] = set()
    for check in checks:
        try:
            check()
        except KnownError as error:
            problem = told(str(error))
            # One deleted topic is told of by each table.
            if problem.to_do not in said:
                said.add(problem.to_do)
                yield problem


def _other_topic(each: Look, fence: Fence) -> Callable[[], None]:
    return lambda: fence.refuse_others(fenced(each.handle, fence))


def _other_owner(store: Store, flow: str, topics: Mapping[str, str]) -> Callable[[], None]:
    return lambda: recovery_owner.refuse_others(store.directory, flow, topics)


def _shorter(name: str, ends: Mapping[int, int], looks: Iterable[Look]) -> Callable[[], None]:
    return lambda: refuse_shorter(name, ends, [each.frontier for each in looks])


def _restored(each: Look, fence: Fence) -> Callable[[], None]:
    return lambda: refuse_restored(each.handle, each.table, fence)


def _behind(each: Look, states: Mapping[str, Mapping[str, Any]]) -> Callable[[], None]:
    offsets = states.get(each.table.name, {}).get("offsets", ())
    return lambda: refuse_behind(each.table, each.frontier, offsets)


def _of_topic(status: FlowStatus, topic: TopicStatus) -> Iterator[Problem]:
    if topic.ends is None:
        yield Problem(
            f"{NO_TOPIC}{topic.topic!r}, or this user may not see it",
            "create it, grant DESCRIBE, or look at the setting that names it (MILLSTREAM_TOPIC, …)",
        )
        return
    try:
        refuse_gone(topic.topic, topic.firsts, topic.position)
    except OffsetGoneError as error:
        yield told(str(error))
    new = sorted(topic.ends.keys() - topic.position.keys())
    if new and topic.position and status.state == "running":
        yield Problem(
            f"partitions {', '.join(map(str, new))} of topic {topic.topic} are not read yet",
            "stop the flow and start it again: it then reads them from their beginning",
        )


def _of_progress(seen: Seen, status: FlowStatus, now: datetime) -> Iterator[Problem]:
    lag = status.lag
    if not lag:
        return
    where = "" if status.recovery is None else f" -r {status.recovery}"
    if status.state == "stopped":
        yield Problem(
            f"the {status.flow} flow does not run, and has {lag:,} records to read",
            f"start it: {status.command}{where}",
        )
        return
    newest = status.commits[0].at if status.commits else None
    # Where payments wait for what follows them, an epoch may have nothing to commit.
    if seen.flow.own is None or newest is None or now - newest < RECENT:
        return
    lag = sum(each.overdue for each in status.topics)
    if not lag:
        return
    quiet = f"no commit for {(now - newest) // timedelta(minutes=1):,} minutes, and {lag:,} "
    what = f"{quiet}records to read for longer than {RECENT // timedelta(minutes=1)} minutes"
    if status.state == "running":
        yield Problem(
            what,
            "see its log for what it waits for; if it stands still, the watchdog ends it with "
            "status 75 (MILLSTREAM_STALL_TIMEOUT), and it is to be started again",
        )
    else:
        yield Problem(
            f"{what}: nothing tells whether the {status.flow} flow runs",
            f"start it, if it does not: {status.command} -r …; and name its recovery directory "
            "here, with -r",
        )
