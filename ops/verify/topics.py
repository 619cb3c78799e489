"""What the topics hold, read to their ends."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import polars as pl
from confluent_kafka import OFFSET_BEGINNING, Message

from operators.connectors.kafka.client import (
    Config,
    first_offsets,
    headers_of,
    read_to_end,
    wait_for_partitions,
)
from operators.connectors.kafka.outgoing import ID_HEADER, SOURCE_ID_HEADER
from ops.verify.report import Check, only_once

Told = Callable[[int], None]

_CHUNK: Final = 50_000
_ID: Final = {"id": pl.String()}
PLACE: Final = {"source_partition": pl.Int32(), "source_offset": pl.Int64()}


def source_records(config: Config, topic: str, told: Told) -> pl.DataFrame:
    """Return partition, offset and a hash of the value (UInt64) of every record of a topic."""
    partitions = wait_for_partitions(config, topic, 10)
    messages = read_to_end(config, topic, dict.fromkeys(partitions, OFFSET_BEGINNING))
    frames = [pl.DataFrame(schema={**PLACE, "value_hash": pl.UInt64()})]
    read = 0
    while chunk := list(islice(messages, _CHUNK)):
        frames.append(
            pl.DataFrame(
                {
                    "source_partition": [m.partition() for m in chunk],
                    "source_offset": [m.offset() for m in chunk],
                    "value_hash": pl.Series(
                        [m.value() for m in chunk], dtype=pl.Binary()
                    ).hash(),
                },
                schema={**PLACE, "value_hash": pl.UInt64()},
            )
        )
        read += len(chunk)
        told(read)
    return pl.concat(frames)


def still_there(source: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose records are in what `source_records` has read, or behind it.

    Those before were deleted from the topic by retention, and cannot be compared any more.
    """
    first = source.group_by("source_partition").agg(first=pl.col("source_offset").min())
    there = rows.join(first, on="source_partition").filter(
        pl.col("source_offset") >= pl.col("first")
    )
    return there.drop("first")


def sent_once(
    name: str,
    config: Config,
    topic: str,
    expected: pl.DataFrame,
    source: str,
    today: Callable[[str], bool] | None = None,
    removed: Callable[[str], bool] = lambda _: False,
) -> Check:
    """Check that an output topic has each `id` (String) of `expected` once, and no other.

    Left out are the messages that were made of another topic than `source`, an identity as of
    `topic_ids.identify`, such as one that had its name before it was made anew.

    What is not made by `today`'s rules, or of a record that was `removed`, as an id tells, may be
    there and not expected.

    Of what retention has deleted only the number is known: so many may be missing.
    """
    partitions = wait_for_partitions(config, topic, 10)
    messages = read_to_end(config, topic, dict.fromkeys(partitions, OFFSET_BEGINNING))
    # As columns: where each event has a decision there are as many as events.
    frames = [pl.DataFrame(schema=_ID)]
    while chunk := list(islice(messages, _CHUNK)):
        frames.append(pl.DataFrame({"id": list(_ids(chunk, source.encode()))}, schema=_ID))
    # Asked only now: what is deleted while we read may be missing too.
    deleted = sum(first_offsets(config, topic, partitions, 10).values())
    found = pl.concat(frames)
    unexpected = found.join(expected, on="id", how="anti")["id"].drop_nulls().unique()
    earlier = [
        each
        for each in unexpected.to_list()
        if (today is not None and not today(each)) or removed(each)
    ]
    found = found.filter(~pl.col("id").is_in(earlier).fill_null(value=False))
    return only_once(name, expected, found, may_lack=deleted)


def _ids(messages: Iterable[Message], source: bytes) -> Iterator[str | None]:
    """Yield the id of each message that was made of a source; None where it has none."""
    for message in messages:
        headers = headers_of(message)
        if headers.get(SOURCE_ID_HEADER, source) != source:
            continue
        try:
            yield headers[ID_HEADER].decode()
        except (KeyError, UnicodeDecodeError):
            yield None


def reject_ids(rejects: pl.DataFrame) -> pl.DataFrame:
    """Return the `id` of each reject's message; needs its code and coordinates."""
    place = [pl.col(name).cast(pl.String) for name in ("source_topic", *PLACE)]
    return rejects.select(id=pl.concat_str(["code", *place], separator="/"))
