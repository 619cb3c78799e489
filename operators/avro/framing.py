"""Which schema wrote a record: Confluent's framing, in the payload or in a header.

Source: confluent_kafka.schema_registry, `SchemaId.from_bytes` and
`dual_schema_id_deserializer` (2.16). A schema id is a magic byte and what follows it: 0 and
4 bytes, a big-endian number; or 1 and 16 bytes, a GUID. It stands before the body, or alone
in the header ``__value_schema_id``, and then the payload is all body.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from operators.rejects import Refusal
from schemas import AvroSchema

SchemaId = int | UUID
Lookup = Callable[[SchemaId], AvroSchema]
Headers = Sequence[tuple[str, bytes | None]]

ID_HEADER = "__value_schema_id"


class Group(NamedTuple):
    """The records of a batch that one schema wrote: their positions and Avro bodies."""

    rows: list[int] | range
    bodies: list[bytes]


def split(
    values: Sequence[bytes | None], headers: Sequence[Headers | None]
) -> tuple[dict[SchemaId, Group], list[Refusal]]:
    """Sort a batch's values by schema id; refuse those that carry none.

    `headers` is as long as `values`; an entry may be None. Rows ascend within each group.
    """
    if not any(headers):
        group = _single_group(values)
        if group is not None:
            return group, []
    groups: dict[SchemaId, Group] = {}
    by_head: dict[bytes, tuple[list[int], list[bytes]]] = {}
    refusals = []
    for row, (value, pairs) in enumerate(zip(values, headers, strict=True)):
        if value and not pairs:
            # Most records: the id of another one before. It is the whole id, if that was.
            columns = by_head.get(value[: 5 if value[0] == 0 else 17])
            if columns is not None:
                columns[0].append(row)
                columns[1].append(value[5 if value[0] == 0 else 17 :])
                continue
        if not value:
            code, what = ("null_value", "null") if value is None else ("empty", "empty")
            refusals.append(Refusal(row, "decode", code, f"The value is {what}."))
            continue
        framed = _header_id(pairs) if pairs else None
        source = value if framed is None else framed
        size = _head_size(source)
        head = source[:size]
        if len(head) < size or not size:
            where = "value" if framed is None else f"header {ID_HEADER}"
            refusals.append(_unframed(row, where, size))
            continue
        columns = by_head.get(head)
        if columns is None:
            columns = by_head[head] = ([], [])
            groups[_parse(head)] = Group(*columns)
        columns[0].append(row)
        columns[1].append(value[size:] if framed is None else value)
    return groups, refusals


def _single_group(values: Sequence[bytes | None]) -> dict[SchemaId, Group] | None:
    """Split the common batch, one 4-byte id throughout, without a loop in Python."""
    try:
        heads = {value[:5] for value in values}  # type: ignore[index]
    except TypeError:  # a null among them
        return None
    if len(heads) != 1:
        return None
    (head,) = heads
    if len(head) != 5 or head[0] != 0:
        return None
    bodies = [value[5:] for value in values]  # type: ignore[index]
    return {_parse(head): Group(range(len(bodies)), bodies)}


def _head_size(source: bytes) -> int:
    """Return how long an id is by its magic byte; 0 for bytes that start no id."""
    if not source:
        return 5  # shorter than any id
    return {0: 5, 1: 17}.get(source[0], 0)


def _parse(head: bytes) -> SchemaId:
    return UUID(bytes=head[1:]) if head[0] else int.from_bytes(head[1:], "big")


def _header_id(pairs: Headers) -> bytes | None:
    # The first one counts, and an empty (null) one does not, as in Confluent's client.
    return next((value for name, value in pairs if name == ID_HEADER), None)


def _unframed(row: int, where: str, size: int) -> Refusal:
    if size:
        message = f"The {where} ends inside its schema id."
        return Refusal(row, "decode", "truncated_frame", message)
    message = f"The {where} starts with neither magic byte 0 nor 1."
    return Refusal(row, "decode", "bad_magic", message)
