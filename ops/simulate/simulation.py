"""From events to the records of a topic, and the truth about each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

import schemas
from flows.streams import Stream
from operators.columns.arrays import Int64s
from ops.simulate import troubles as trouble
from ops.simulate.encode import encode_framed, frame, partitions_of
from ops.simulate.params import Delivery
from ops.simulate.troubles import Breach


@dataclass(frozen=True, slots=True)
class Simulation:
    """The records of a topic, in the order in which they are to be produced.

    - `events`: what happened, one row each by event time: the columns of the stream's record,
      and labels that are not sent; of payments `is_fraud` (Boolean) and `scenario` (Int8; 0
      none, else the handbook's 1 to 3)
    - `records`: what is produced: `partition` (Int32), `key` and `value` (Binary; a null value
      is a tombstone) and `header` (Binary; the value of ``__value_schema_id``, null for none)
    - `truth`: a row for each record, in the same order: `stream`, `partition`, `sequence`
      (Int64, its place in the partition from 0: the offset, if the topic was empty), the
      stream's id and `event_time` (null where they cannot be read), `kind` ("ok" or a
      trouble's name), `place` ("silver", "duplicates" or "quarantine"), `stage` and `code` of
      the expected reject (null for none), and the labels
    """

    events: pl.DataFrame
    records: pl.DataFrame
    truth: pl.DataFrame


def deliver(
    stream: Stream,
    events: pl.DataFrame,
    version: npt.NDArray[np.int8],
    params: Delivery,
    breaches: Sequence[Breach],
    spoilt: str,
    for_framing: np.random.Generator,
    for_troubles: np.random.Generator,
) -> Simulation:
    """Return the records of events, in the order of event time, and what befalls them.

    `version` is the schema version of each. `breaches` are what is sent against the contract, in
    turns, and `spoilt` the string column that meets bytes that are no UTF-8.
    """
    n = len(events)
    shares = np.cumsum([1 - params.guid_share - params.header_share, params.guid_share])
    framing = np.searchsorted(shares, for_framing.random(n), side="right").astype(np.int8)

    troubles = params.troubles if breaches else replace(params.troubles, contract=0.0)
    plan = trouble.plan(n, troubles, for_troubles)
    framing = trouble.framing_for(plan.kind, framing)
    own = events.select(*stream.fields)
    sent, breach = trouble.break_contract(own, plan.kind, breaches)
    version = _with_the_breach(stream.record, version, breach, breaches)
    values, headers = encode_framed(stream.record, sent, version, framing)
    newest = schemas.versions(stream.record)[-1]
    sizes = np.array([len(frame(stream.record, newest, how)[0]) for how in range(3)])
    values = trouble.damage(
        values, sizes[framing], plan.kind, own[spoilt], own[stream.id], for_troubles
    )

    row = np.concatenate([np.arange(n), plan.repeated])
    arrival = events["event_time"].to_physical().to_numpy() + plan.delay
    arrival = np.concatenate([arrival, arrival[plan.repeated] + plan.repeat_delay])
    # Stable: events of one µs keep their order, so equal parameters give equal topics.
    order = np.argsort(arrival, kind="stable")
    row, again = row[order], order >= n
    keys = events[stream.key].cast(pl.String())
    partition = partitions_of(keys, params.partitions)[row]
    records = pl.DataFrame(
        {
            "partition": partition,
            "key": keys.cast(pl.Binary()).gather(row),
            "value": values.gather(row),
            "header": headers.gather(row),
        }
    )
    codes = [trouble.DECODE_CODES.get(name) for name in trouble.KINDS]
    codes += [one.code for one in breaches]
    code = np.where(breach > 0, len(trouble.KINDS) + breach - 1, plan.kind)
    told = events.select(
        pl.lit(stream.name).alias("stream"),
        sent[stream.id],
        sent["event_time"],
        pl.Series("kind", plan.kind),
        pl.Series(codes, dtype=pl.String()).gather(code).alias("code"),
        *(name for name in events.columns if name not in stream.fields),
    )
    return Simulation(events, records, _truth(told[row], stream.id, again, partition))


def _with_the_breach(
    record: str,
    version: npt.NDArray[np.int8],
    breach: npt.NDArray[np.int16],
    breaches: Sequence[Breach],
) -> npt.NDArray[np.int8]:
    """Return the versions, the newest where an older one lacks what breaks the contract."""
    newest = schemas.versions(record)[-1]
    version = version.copy()
    for old in np.unique(version):
        names = {field["name"] for field in schemas.load(record, int(old))["fields"]}
        lost = [i for i, each in enumerate(breaches, 1) if not names.issuperset(each.values)]
        version[(version == old) & np.isin(breach, lost)] = newest
    return version


def _truth(
    told: pl.DataFrame,
    id_column: str,
    again: npt.NDArray[np.bool_],
    partition: npt.NDArray[np.int32],
) -> pl.DataFrame:
    """Return the truth about the records, of what is `told` of each; see `Simulation`."""
    labels = told.columns[5:]
    decoded = np.array([name not in trouble.DECODE_CODES for name in trouble.KINDS])
    shown = np.where(again, trouble.NUMBER["duplicate"], told["kind"].to_numpy())
    truth = told.with_columns(
        partition=partition,
        sequence=sequence(partition),
        kind=pl.Series(trouble.KINDS).gather(shown),
        again=again,
        readable=decoded[told["kind"].to_numpy()],
    )
    refused = pl.col("code").is_not_null()
    return truth.select(
        "stream", "partition", "sequence",
        pl.when("readable").then(id_column).alias(id_column),
        pl.when("readable").then("event_time").alias("event_time"),
        "kind",
        pl.when("again").then(pl.lit("duplicates"))
        .when(refused).then(pl.lit("quarantine"))
        .otherwise(pl.lit("silver")).alias("place"),
        pl.when(refused)
        .then(pl.when("readable").then(pl.lit("contract")).otherwise(pl.lit("decode")))
        .alias("stage"),
        "code", *labels,
    )  # fmt: skip


def sequence(partition: npt.NDArray[np.int32]) -> Int64s:
    """Return each record's place in its partition, from 0, shape (n,)."""
    places = np.empty(len(partition), np.int64)
    for one in np.unique(partition):
        here = np.flatnonzero(partition == one)
        places[here] = np.arange(len(here))
    return places
