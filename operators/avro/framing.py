"""Which schema wrote a record: Confluent's framing, in the payload or in a header.

Source: confluent_kafka.schema_registry, `SchemaId.from_bytes` and
`dual_schema_id_deserializer` (2.16). A schema id is a magic byte and what follows it: 0 and
4 bytes, a big-endian number; or 1 and 16 bytes, a GUID. It stands before the body, or alone
in the header ``__value_schema_id``, and then the payload is all body.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from uuid import UUID

import numpy as np

from operators.avro.payloads import Group, Payloads
from operators.columns.arrays import Int64s
from operators.records.rejects import Refusal
from schemas import AvroSchema

SchemaId = int | UUID
Lookup = Callable[[SchemaId], AvroSchema]
"""Returns the schema of an id; raises KeyError(id) if there is none, or KeyError(id, why)."""

Headers = Sequence[tuple[str, bytes | None]]

ID_HEADER = "__value_schema_id"

_SIZES = {0: 5, 1: 17}  # of an id, by its magic byte
_HEADS_BY_COLUMNS = 16
# Ids of 8 bytes begin with four zeros, which read as this number.
_ID_OF_8_BYTES = 0


def split(
    payloads: Payloads, headers: Sequence[Headers | None]
) -> tuple[dict[SchemaId, list[Group]], list[Refusal]]:
    """Sort a batch's values by schema id; refuse those that carry none.

    `headers` is as long as the values; an entry may be None.
    """
    groups: dict[SchemaId, list[Group]] = defaultdict(list)
    sizes = payloads.ends - payloads.starts
    magic = payloads.data[payloads.starts]
    plain = (sizes >= _SIZES[0]) & (magic == 0) | (sizes >= _SIZES[1]) & (magic == 1)
    some = compress(enumerate(headers), headers)
    pairs = {row: own for row, own in some if own and ID_HEADER in dict(own)}
    headed = np.array([*pairs], np.int64)
    plain[headed] = False
    done = np.zeros(len(sizes), np.bool_)
    for head, rows in _alike(payloads, np.flatnonzero(plain)):
        groups[_parse(head)].append(Group(rows, len(head)))
        done[rows] = True
    for head, places in _by_header(pairs, headed[sizes[headed] > 0].tolist()).items():
        groups[_parse(head)].append(Group(np.sort(places), 0))
        done[places] = True
    odd = np.flatnonzero(~done).tolist()
    by_head, refusals = _one_by_one(payloads.values, headers, odd)
    for (head, skip), places in by_head.items():
        groups[_parse(head)].append(Group(np.array(places, np.int64), skip))
    return groups, refusals


def _alike(payloads: Payloads, rows: Int64s) -> Iterator[tuple[bytes, Int64s]]:
    """Yield ids that stand before the body, and the rows of each, unless there are many ids."""
    data = payloads.data
    words = np.ndarray((len(data) - 7,), "<u8", data.data, strides=(1,))
    for _ in range(_HEADS_BY_COLUMNS):
        if not len(rows):
            return
        at = payloads.starts[rows]
        size = _SIZES[int(data[at[0]])]
        same = np.ones(len(rows), np.bool_)
        for offset in range(0, size, 8):
            word = words[at + offset] & np.uint64((1 << 8 * min(size - offset, 8)) - 1)
            same &= word == word[0]
        yield data[at[0] : at[0] + size].tobytes(), rows[same]
        rows = rows[~same]


def _by_header(pairs: Mapping[int, Headers], rows: list[int]) -> dict[bytes, list[int]]:
    """Return rows by the id that their first header is, without those of which it is none."""
    alike: dict[bytes | None, list[int]] = defaultdict(list)
    for row in rows:
        name, value = pairs[row][0]
        alike[value if name == ID_HEADER else None].append(row)
    found: dict[bytes, list[int]] = defaultdict(list)
    for value, places in alike.items():
        size = _SIZES.get(value[0], 0) if value else 0
        if value and 0 < size <= len(value):
            found[value[:size]] += places
    return found


def _one_by_one(
    values: Sequence[bytes | None], headers: Sequence[Headers | None], rows: list[int]
) -> tuple[dict[tuple[bytes, int], list[int]], list[Refusal]]:
    """Return rows by their id and how many bytes of the value it takes up, and refusals."""
    by_head: dict[tuple[bytes, int], list[int]] = defaultdict(list)
    refusals = []
    for row in rows:
        value, pairs = values[row], headers[row]
        if not value:
            code, what = ("null_value", "null") if value is None else ("empty", "empty")
            refusals.append(Refusal(row, "decode", code, f"The value is {what}."))
            continue
        framed = _header_id(pairs) if pairs else None
        source = value if framed is None else framed
        # An empty header is shorter than any id.
        size = _SIZES.get(source[0], 0) if source else _SIZES[0]
        head = source[:size]
        if len(head) < size or not size:
            where = "value" if framed is None else f"header {ID_HEADER}"
            refusals.append(_unframed(row, where, size))
            continue
        by_head[head, size if framed is None else 0].append(row)
    return by_head, refusals


def _parse(head: bytes) -> SchemaId:
    return UUID(bytes=head[1:]) if head[0] else int.from_bytes(head[1:], "big")


def _header_id(pairs: Headers) -> bytes | None:
    # The first one counts, and an empty (null) one does not, as in Confluent's client.
    for name, value in pairs:
        if name == ID_HEADER:
            return value
    return None


def _unframed(row: int, where: str, size: int) -> Refusal:
    if size:
        message = f"The {where} ends inside its schema id."
        return Refusal(row, "decode", "truncated_frame", message)
    message = f"The {where} starts with neither magic byte 0 nor 1."
    return Refusal(row, "decode", "bad_magic", message)


def unknown(schema_id: SchemaId, error: KeyError) -> str:
    """Return why records of an id are refused whose look-up has raised `error`."""
    if len(error.args) > 1:
        return f"The schema of this id {error.args[1]}."
    if schema_id == _ID_OF_8_BYTES:
        return (
            "There is no schema of this id. Apicurio's serializers may write ids of 8 bytes, "
            "which begin like it: set their ids to 4 bytes, as Confluent's are."
        )
    return "There is no schema of this id."
