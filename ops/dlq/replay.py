"""Replay: rejects that are good by now, sent to their topic again, each once.

A plan judges what is meant by today's schemas and contract. What would be good, and is of no event
that silver has, is claimed and sent as it came, so that it is decoded, deduplicated and counted as
any other record. A replay that a crash has ended is gone on with by the next one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable

from flows.enforced.topic import Enforced
from flows.streams import Stream
from operators.avro import Lookup
from operators.connectors.delta.acts import REPLAYS
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import open_table
from operators.connectors.kafka.client import end_offsets, first_offsets
from ops.dlq.again import events_of, read_of_topic
from ops.dlq.became import read_and_gone
from ops.dlq.edits import Edits, edited, unapproved
from ops.dlq.filters import Filters
from ops.dlq.judge import JUDGED, judge_of
from ops.dlq.options import MOST_ATTEMPTS
from ops.dlq.quarantine import (
    PLACE,
    Place,
    Quarantine,
    quoted,
    with_fingerprints,
)
from ops.dlq.records import COLUMNS
from ops.dlq.replays import Replays
from ops.dlq.sending import Sender
from ops.dlq.sought import Sought, matching
from ops.dlq.streams import topic_of
from ops.sealed import SEALED, decrypted

GOOD: Final = "silver"
_TIMEOUT: Final = 30.0
_KNOWN: Final = {"fingerprint": pl.String(), "attempts": pl.Int32(), "edit": pl.String()}
_EVENT: Final = ["event_id", "event_hour"]


@dataclass(frozen=True)
class Plan:
    """What would become of a stream's rejects: a row for each, with `outcome`.

    `version` is that of the quarantine that was looked at.
    """

    quarantine: Quarantine
    version: int
    rows: pl.DataFrame

    @property
    def chosen(self) -> pl.DataFrame:
        """The rejects that are to be sent."""
        return self.rows.filter(outcome=GOOD)

    def canary(self, count: int) -> "Plan":
        """Return the plan for `count` of the chosen alone, of each kind in turn."""
        nth = pl.int_range(pl.len()).over("fingerprint")
        return replace(self, rows=self.chosen.sort(nth, *PLACE).head(count).sort(PLACE))

    def without(self, other: "Plan") -> "Plan":
        """Return the plan without the rejects of another."""
        return replace(self, rows=self.rows.join(other.rows, on=PLACE, how="anti"))

    def histogram(self) -> list[dict[str, Any]]:
        """Return how many have each outcome, the most first."""
        counted = self.rows.group_by("outcome").len("count")
        stream = pl.lit(self.quarantine.name).alias("stream")
        return counted.select(stream, "outcome", "count").sort(
            "count", "outcome", descending=[True, False]
        ).to_dicts()  # fmt: skip


def plan(
    root: str,
    quarantine: Quarantine,
    filters: Filters,
    sought: Sought,
    lookup: Lookup,
    limit: int | None = None,
    told: Callable[[int], None] = lambda _: None,
    attempts: int = MOST_ATTEMPTS,
) -> Plan:
    """Return what would become of the rejects that are meant, as edits have them.

    `limit` is how many are sent; those that were tried `attempts` times are left out, so that
    nothing goes round for ever. Raises QuarantineError.
    """
    stream, edits = quarantine.stream, Edits(root)
    judge, changed = judge_of(stream, lookup), edits.of(stream.name)
    kinds = {name: JUDGED[name] for name in PLACE} | _KNOWN
    judged, known = [pl.DataFrame(schema=JUDGED)], [pl.DataFrame(schema=kinds)]
    for rows in matching(quarantine, filters, sought, lookup, told):
        # What a rule failed on is in silver, and what was refused last is what counts.
        rows = rows.filter(pl.col("stage") != "rule")
        if rows.height:
            rows = edited(with_fingerprints(stream.name, rows), changed)
            known.append(rows.select(pl.col(name).cast(kind) for name, kind in kinds.items()))
            judged.append(judge(rows))
    found = pl.concat(judged).join(pl.concat(known), on=PLACE, how="left")
    found = found.sort(PLACE)
    found = found.with_columns(
        outcome=_outcome(
            stream,
            Replays(root).claimed(),
            found.with_columns(waits=unapproved(stream, edits, found)),
            attempts,
        )
    )
    good = found.filter(outcome=GOOD)
    there = good.join(_in_silver(root, stream, good), on=_EVENT, how="semi")
    again = good.filter(~pl.struct(_EVENT).is_first_distinct())
    duplicates = pl.concat([there, again]).select(PLACE).unique()
    repeated = found.join(
        duplicates.with_columns(pl.lit(True).alias("repeated")),
        on=PLACE,
        how="left",
        maintain_order="left",
    )
    outcome = pl.when("repeated").then(pl.lit("duplicate")).otherwise("outcome")
    found = repeated.with_columns(outcome=outcome).drop("repeated")
    if limit is not None:
        mine = (pl.col("outcome") == GOOD) & ((pl.col("outcome") == GOOD).cum_sum() > limit)
        beyond = pl.when(mine).then(pl.lit("beyond --limit")).otherwise("outcome")
        found = found.with_columns(outcome=beyond)
    return Plan(quarantine, quarantine.handle.version(), found)


def _outcome(
    stream: Stream, claimed: pl.DataFrame, judged: pl.DataFrame, attempts: int
) -> pl.Series:
    topic = topic_of(stream)
    before = judged.select(PLACE).join(
        claimed.select(*PLACE, "replay").unique(PLACE),
        on=PLACE,
        how="left",
        maintain_order="left",
    )
    refused = pl.format("refused: {} {}", "stage", "code")
    return judged.select(
        outcome=pl.when(before["replay"].is_not_null())
        .then(pl.lit("replayed before"))
        .when(pl.col("source_topic") != topic)
        .then(pl.lit("of a topic that the flow does not read"))
        .when(pl.col("code").is_not_null())
        .then(refused)
        .when("waits")
        .then(pl.lit("edited, and not approved"))
        .when(pl.col("attempts") >= attempts)
        .then(pl.lit(f"tried {attempts} times"))
        .otherwise(pl.lit(GOOD))
    )["outcome"]


def _in_silver(root: str, stream: Stream, good: pl.DataFrame) -> pl.DataFrame:
    """Return the events, among those that are good, that silver has; none where they have no id."""
    uri = table_uri(root, stream.silver.name)
    if isinstance(stream, Enforced) and good.height and DeltaTable.is_deltatable(uri):
        return events_of(DeltaTable(uri), stream, good)
    if not (good.height and stream.id) or not DeltaTable.is_deltatable(uri):
        return pl.DataFrame(schema={name: JUDGED[name] for name in _EVENT})
    hours = good["event_hour"].unique()
    days = ", ".join(
        f"DATE {quoted(day)}"
        for day in (hours // 24).unique().cast(pl.Int32).cast(pl.Date).to_list()
    )
    rows = query(
        DeltaTable(uri),
        f"SELECT {stream.id} AS event_id, event_time FROM rows WHERE event_date IN ({days})",  # noqa: S608 # our own
    )
    hour = pl.col("event_time").cast(pl.Datetime("us", "UTC")).to_physical() // 3_600_000_000
    return rows.select(pl.col("event_id").cast(pl.String), hour.alias("event_hour"))


def begin(
    root: str, plan_: Plan, config: Mapping[str, str], asked: Mapping[str, Any], why: str | None
) -> str:
    """Claim what a plan has chosen, so that no other replay sends it; return the replay's name.

    `asked` is the filter, for the audit.
    """
    behind: dict[tuple[str, int], int] = {}
    for (topic,), mine in plan_.chosen.group_by("source_topic"):
        partitions = mine["source_partition"].unique().to_list()
        ends = end_offsets(config, str(topic), partitions, _TIMEOUT)
        behind |= {(str(topic), p): offset for p, offset in ends.items()}
    stream = plan_.quarantine.name
    return Replays(root).claim(stream, plan_.chosen, behind, asked, why, plan_.version)


def finish(
    root: str,
    replay: str,
    quarantines: Mapping[str, Quarantine],
    config: Mapping[str, str],
    rate: float | None,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[dict[Place, Place], int]:
    """Send what of a claimed replay is not sent yet; return where all of it is, and how many.

    Where it is is by where it came from. These are fewer, where the quarantine has not all of them
    any more. Raises QuarantineError.
    """
    sender = Sender(config, str(open_table(root, REPLAYS).metadata().id), rate)
    mine = Replays(root).claimed().filter(replay=replay)
    quarantine, ends = quarantines[mine["stream"][0]], _ends(mine)
    already = sender.already(replay, ends)
    # Looked at last: what is deleted meanwhile has been read, or is in bronze.
    stream, gone = quarantine.stream, _deleted(config, ends)
    if isinstance(stream, Enforced):
        already |= read_of_topic(root, stream, gone)
    else:
        already |= read_and_gone(root, stream, replay, gone)
    done = pl.DataFrame(list(already), schema={n: JUDGED[n] for n in PLACE}, orient="row")
    left = mine.join(done, on=PLACE, how="anti")
    records = _records(quarantine, left, Edits(root).all())
    sender.send(replay, records, told)
    return already | sender.sent, mine.height


def chosen_records(root: str, plan_: Plan) -> Iterator[pl.DataFrame]:
    """Yield what a plan has chosen with its records, partition by partition in order."""
    return _records(plan_.quarantine, plan_.chosen, Edits(root).all())


def _ends(mine: pl.DataFrame) -> dict[tuple[str, int], int]:
    """Return by partition behind what a replay's records were sent."""
    ends = mine.group_by("source_topic", "source_partition").agg(pl.col("sent_behind").min())
    return {(topic, p): end for topic, p, end in ends.iter_rows()}


def _deleted(
    config: Mapping[str, str], ends: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Return what topics have deleted behind ends: from and up to which offset, by partition."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for topic in {topic for topic, _ in ends}:
        mine = {p: end for (t, p), end in ends.items() if t == topic}
        firsts = first_offsets(config, topic, mine, _TIMEOUT)
        found |= {(topic, p): (end, firsts[p]) for p, end in mine.items() if firsts[p] > end}
    return found


def _records(
    quarantine: Quarantine, places: pl.DataFrame, edits: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Yield the rejects at some coordinates with their records, partition by partition in order.

    They are as the edits have them that were claimed with them, whatever was edited since.
    """
    edits = edits.join(places.select(*PLACE, "edit"), on=[*PLACE, "edit"], how="semi")
    columns = ", ".join((*COLUMNS, *SEALED))
    for mine in places.partition_by(PLACE[:2], maintain_order=True):
        first = mine.row(0, named=True)
        topic, partition = first["source_topic"], first["source_partition"]
        offsets = mine["source_offset"].to_list()
        sql = (
            f"SELECT {columns} FROM rows WHERE stage <> 'rule' AND source_topic = {quoted(topic)} "  # noqa: S608 # quoted
            f"AND source_partition = {partition} "
            f"AND source_offset BETWEEN {min(offsets)} AND {max(offsets)} ORDER BY source_offset"
        )
        for rows in quarantine.batches(sql):
            rows = rows.join(
                mine.select("source_offset"),
                on="source_offset",
                how="semi",
                maintain_order="left",
            )
            yield edited(decrypted(rows), edits)
