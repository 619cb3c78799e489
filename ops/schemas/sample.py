"""The first records of a topic, decoded whichever way they are written."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from operators.avro import Lookup, SchemaId
from operators.avro.framing import split
from operators.avro.payloads import Payloads
from schemas import AvroSchema

_SILENCE_SECONDS = 5.0


@dataclass
class Sample:
    """What was read: JSON objects, Avro records by their schema's id, and what is neither."""

    json: list[dict[str, Any]] = field(default_factory=list)
    avro: dict[SchemaId, list[dict[str, Any]]] = field(default_factory=dict)
    schemas: dict[SchemaId, AvroSchema] = field(default_factory=dict)
    neither: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.json) + sum(map(len, self.avro.values())) + self.neither.total()


def read_values(
    settings: Mapping[str, str], topic: str, most: int
) -> list[tuple[bytes, list[tuple[str, bytes | None]]]]:
    """Return values and headers of a topic's first records, up to `most`, of all partitions.

    Nothing is committed. Raises KafkaException, also where there is no such topic.
    """
    consumer = Consumer(
        {
            "log_level": 0,
            **settings,
            "group.id": "millstream-schemas-infer",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic]
        if known.error is not None:
            raise KafkaException(known.error)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in known.partitions])
        found: list[tuple[bytes, list[tuple[str, bytes | None]]]] = []
        ended: set[int | None] = set()
        while len(found) < most and len(ended) < len(known.partitions):
            messages = consumer.consume(most - len(found), _SILENCE_SECONDS)
            if not messages:
                break
            for message in messages:
                error = message.error()
                if error is None:
                    if message.value() is not None:
                        found.append((message.value(), message.headers() or []))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise KafkaException(error)
        return found
    finally:
        consumer.close()


def decode(
    records: list[tuple[bytes, list[tuple[str, bytes | None]]]], lookup: Lookup
) -> Sample:
    """Sort records by how they are written, and decode them; raises what `lookup` does."""
    sample = Sample()
    values = [value for value, _ in records]
    for value in values:
        if value[:1] == b"{":
            try:
                sample.json.append(orjson.loads(value))
            except orjson.JSONDecodeError:
                sample.neither["no whole JSON object"] += 1
    rest = [record for record in records if record[0][:1] != b"{"]
    if not rest:
        return sample
    groups, refusals = split(
        Payloads.of([value for value, _ in rest]), [headers for _, headers in rest]
    )
    sample.neither["neither JSON nor Avro with a schema's id"] += len(refusals)
    for schema_id, members in groups.items():
        try:
            schema = lookup(schema_id)
        except KeyError:
            count = sum(len(group.rows) for group in members)
            sample.neither[f"schema id {schema_id}, which the registry does not have"] += count
            continue
        sample.schemas[schema_id], sample.avro[schema_id] = schema, []
        parsed = fastavro.parse_schema(schema, _write_hint=False)
        for group in members:
            for row in group.rows.tolist():
                body = io.BytesIO(rest[row][0][group.skip :])
                try:
                    one = fastavro.schemaless_reader(body, parsed, None)
                except Exception:  # of hostile bytes the library raises whatever they come to
                    sample.neither[f"not what schema id {schema_id} says"] += 1
                else:
                    assert isinstance(one, dict)  # noqa: S101 # a record's schema
                    sample.avro[schema_id].append(one)
    return sample
