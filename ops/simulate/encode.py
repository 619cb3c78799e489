"""Events as Kafka keys, values and partitions, a column at a time."""

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

import schemas
from operators.avro import bulk_encode
from operators.columns.arrays import Int64s

SCHEMA_HEADER: Final = "__value_schema_id"

BY_ID, BY_GUID, BY_HEADER = range(3)
_BLOCK: Final = 50_000


def encode(record: str, version: int, rows: pl.DataFrame) -> pa.BinaryArray:
    """Return each row as Avro of one version of a record's schema, without a frame.

    `rows` has the columns of the newest version; what the version lacks is left out.
    """
    return bulk_encode.encode(schemas.load(record, version), rows)


def frame(record: str, version: int, framing: int) -> tuple[bytes, bytes | None]:
    """Return what goes before the Avro part, and the value of SCHEMA_HEADER if there is one.

    The frames are those of Confluent's serialisers: a zero and the schema's id in 4 bytes, big
    end first; a one and its GUID in 16 bytes; or that in the header and nothing before.
    """
    guid = b"\1" + schemas.local_guid(record, version).bytes
    by_id = struct.pack(">bI", 0, schemas.local_id(record, version))
    return ((by_id, None), (guid, None), (b"", guid))[framing]


def encode_framed(
    record: str, events: pl.DataFrame, version: npt.NDArray[Any], framing: npt.NDArray[Any]
) -> tuple[pl.Series, pl.Series]:
    """Return values and header values (null: no header), both binary, shape (n,).

    `version` is the schema version of each row and `framing` one of BY_ID, BY_GUID, BY_HEADER.
    """
    kind = version.astype(np.int64) * 3 + framing
    # In blocks: fresh memory for the whole of it costs more than the encoding.
    blocks = [
        _encode_block(record, events[at : at + _BLOCK], kind[at : at + _BLOCK])
        for at in range(0, len(events), _BLOCK)
    ]
    if not blocks:
        return pl.Series(dtype=pl.Binary()), pl.Series(dtype=pl.Binary())
    values, headers = zip(*blocks, strict=True)
    return pl.concat(values), pl.concat(headers)


def _encode_block(
    record: str, events: pl.DataFrame, kind: Int64s
) -> tuple[pl.Series, pl.Series]:
    rows: list[Int64s] = []
    values: list[pa.Array] = []
    headers: list[pa.Array] = []
    for one in np.unique(kind):
        here = np.flatnonzero(kind == one)
        prefix, header = frame(record, *divmod(int(one), 3))
        bodies = encode(record, int(one) // 3, events[here])
        rows.append(here)
        values.append(pc.binary_join_element_wise(pa.scalar(prefix), bodies, pa.scalar(b"")))
        headers.append(pa.repeat(pa.scalar(header, pa.binary()), len(here)))
    back = np.argsort(np.concatenate(rows))
    value, header_value = (
        pl.Series(pl.from_arrow(pa.concat_arrays(column))).gather(back)
        for column in (values, headers)
    )
    return value, header_value


def partitions_of(keys: pl.Series, partitions: int) -> npt.NDArray[np.int32]:
    """Return the partition of each string key: murmur2, as Kafka's own clients choose it.

    The same as Java's default partitioner and librdkafka's ``murmur2_random`` for keys that
    are not null, so another producer that keys alike meets the same partitions.
    """
    if not len(keys):
        return np.empty(0, np.int32)
    codes = keys.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    names = pl.Series(pl.from_arrow(codes.dictionary))
    hashes = np.empty(len(names), np.uint32)
    sizes = names.str.len_bytes().to_numpy()
    for size in np.unique(sizes):
        here = np.flatnonzero(sizes == size)
        text = b"".join(name.encode() for name in names.gather(here))
        hashes[here] = _murmur2(np.frombuffer(text, np.uint8).reshape(len(here), size))
    positive = (hashes & np.uint32(0x7FFFFFFF)).astype(np.int64)
    chosen: npt.NDArray[np.int32] = (positive % partitions)[codes.indices.to_numpy()]
    return chosen.astype(np.int32)


def _murmur2(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return MurmurHash2 (A. Appleby, public domain) of n keys of one size, shape (n, size)."""
    m, size = np.uint32(0x5BD1E995), keys.shape[1]
    h = np.full(len(keys), 0x9747B28C ^ size, np.uint32)
    for at in range(0, size - 3, 4):
        k = np.ascontiguousarray(keys[:, at : at + 4]).view("<u4")[:, 0] * m
        h = (h * m) ^ ((k ^ (k >> np.uint32(24))) * m)
    rest = size % 4
    if rest:
        for place in range(rest):
            h ^= keys[:, size - rest + place].astype(np.uint32) << np.uint32(8 * place)
        h = h * m
    h = (h ^ (h >> np.uint32(13))) * m
    result: npt.NDArray[np.uint32] = h ^ (h >> np.uint32(15))
    return result
