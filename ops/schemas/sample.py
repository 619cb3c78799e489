"""The first records of a topic, decoded whichever way they are written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import orjson
from confluent_kafka import OFFSET_BEGINNING

from operators.avro import Lookup, SchemaId
from operators.avro.explain import Explainer
from operators.avro.framing import Headers
from operators.connectors.kafka.client import read_to_end
from operators.connectors.kafka.topics import wait_for_partitions
from schemas import AvroSchema

_PATIENCE: Final = 10.0

Record = tuple[bytes, Headers]
"""A value, and its record's headers."""


@dataclass
class Sample:
    """What was read: JSON objects, Avro records by their schema's id, and what is neither."""

    json: list[dict[str, Any]] = field(default_factory=list)
    avro: dict[SchemaId, list[dict[str, Any]]] = field(default_factory=dict)
    schemas: dict[SchemaId, AvroSchema] = field(default_factory=dict)
    neither: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.json) + sum(map(len, self.avro.values())) + self.neither.total()


def read_values(config: Mapping[str, str], topic: str, most: int) -> list[Record]:
    """Return a topic's first records that have a value, up to `most`, of all partitions.

    Nothing is committed. Raises KafkaUnavailableError, also where there is no such topic.
    """
    partitions = wait_for_partitions(config, topic, _PATIENCE)
    messages = read_to_end(
        config, topic, dict.fromkeys(partitions, OFFSET_BEGINNING), timeout=_PATIENCE
    )
    with closing(messages):
        found = (m for m in messages if m.value() is not None)
        return [(m.value(), m.headers() or []) for m in islice(found, most)]


def decode(records: Sequence[Record], lookup: Lookup) -> Sample:
    """Sort records by how they are written, and decode them; raises what `lookup` does."""
    sample = Sample()
    for value, _ in records:
        if value[:1] == b"{":
            try:
                sample.json.append(orjson.loads(value))
            except orjson.JSONDecodeError:
                sample.neither["no whole JSON object"] += 1
    rest = [record for record in records if record[0][:1] != b"{"]
    if not rest:
        return sample
    values, headers = [value for value, _ in rest], [headers for _, headers in rest]
    for each in Explainer(lookup).explain(values, headers):
        if each.schema_id is None:
            sample.neither["neither JSON nor Avro with a schema's id"] += 1
        elif each.schema is None:
            sample.neither[f"schema id {each.schema_id}, which the registry does not have"] += 1
        elif each.broken is not None or each.record is None:
            sample.neither[f"not what schema id {each.schema_id} says"] += 1
        else:
            sample.schemas[each.schema_id] = each.schema
            sample.avro.setdefault(each.schema_id, []).append(each.record)
    return sample
