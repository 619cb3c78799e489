"""What the topics hold, read to their ends."""

from collections.abc import Callable
from itertools import islice
from typing import Final

import polars as pl

from operators.connectors.kafka import Config, headers_of, read_to_end, wait_for_partitions
from operators.connectors.kafka_sink import ID_HEADER

Told = Callable[[int], None]

_CHUNK: Final = 50_000
PLACE: Final = {"source_partition": pl.Int32(), "source_offset": pl.Int64()}


def source_records(config: Config, topic: str, told: Told) -> pl.DataFrame:
    """Return partition, offset and a hash of the value (UInt64) of every record of a topic."""
    partitions = wait_for_partitions(config, topic, 10)
    messages = read_to_end(config, topic, dict.fromkeys(partitions, 0))
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


def message_ids(config: Config, topic: str) -> pl.DataFrame:
    """Return the `id` (String) that each message of an output topic carries."""
    partitions = wait_for_partitions(config, topic, 10)
    ids = []
    for message in read_to_end(config, topic, dict.fromkeys(partitions, 0)):
        id_ = headers_of(message).get(ID_HEADER)
        ids.append(None if id_ is None else id_.decode())
    return pl.DataFrame({"id": ids}, schema={"id": pl.String()})


def reject_ids(rejects: pl.DataFrame) -> pl.DataFrame:
    """Return the `id` of each reject's message; needs its code and coordinates."""
    place = [pl.col(name).cast(pl.String) for name in ("source_topic", *PLACE)]
    return rejects.select(id=pl.concat_str(["code", *place], separator="/"))
