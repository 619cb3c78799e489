"""Decode records of a topic of changes, each Avro or JSON, into changes of rows."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.avro import Decoded, Decoder, Lookup
from operators.avro.compile import compile_record
from operators.avro.decode import Drifted
from operators.avro.framing import ID_HEADER, Headers
from operators.changes.json_records import JsonChanges, is_json
from operators.changes.keys import WANTED, Keys
from operators.changes.spec import (
    DELETED,
    EVENT_TIME,
    OFFSET,
    OP,
    SENT,
    SEQUENCE,
    SOURCE,
    THERE,
    Changes,
)
from operators.changes.values import Objects
from operators.columns.arrays import Bools, Int64s
from operators.columns.expressions import one_row, select_rows
from operators.columns.frames import stacked, taken
from operators.records.rejects import Refusal
from operators.records.tables import TIME
from schemas import AvroSchema

_NULLABLE_LONG: Final = {"type": ["null", "long"], "default": None}
_LATEST_MS: Final = 253_402_300_799_999
_OPS: Final = ("c", "u", "r", "d")
_STONE: Final = "_stone"


def envelope(schema: AvroSchema) -> AvroSchema:
    """Return Debezium's envelope of rows of a schema, as far as it is read."""
    row = {**schema, "name": "Value", "namespace": ""}
    source = [{"name": each, **_NULLABLE_LONG} for each in SOURCE.values()]
    found = {"type": "record", "name": "Source", "fields": source}
    return {
        "type": "record",
        "name": "Envelope",
        "fields": [
            {"name": "before", "type": ["null", row], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {"name": "source", "type": ["null", found], "default": None},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", **_NULLABLE_LONG},
        ],
    }


class ChangeDecoder:
    """Decodes records into changes: the row's fields, `event_time` and `ADDED`.

    Of a deletion only the key's fields are set. Raises ValueError for `changes` that cannot be of
    rows of this schema; `lookup` and `versions` are as of `Decoder`.
    """

    def __init__(
        self,
        changes: Changes,
        schema: AvroSchema,
        lookup: Lookup,
        versions: Sequence[AvroSchema] = (),
    ) -> None:
        record = compile_record(schema)
        self._objects = Objects(record)
        self._changes, self._fields = changes, self._objects.dtypes
        changes.check(self._fields)
        self._columns = changes.columns(self._fields)
        self._every = self._columns | {
            OP: pl.String(),
            THERE: pl.Boolean(),
            _STONE: pl.Boolean(),
        }
        self._enveloped = changes.enveloped
        reader = envelope(schema) if self._enveloped else schema
        self._avro = Decoder(reader, lookup, () if self._enveloped else versions)
        self._json = JsonChanges(self._objects, enveloped=self._enveloped)
        self._keys = Keys(changes.by, schema, self._objects, lookup)
        self._deletes = None if changes.deletes is None else one_row(changes.deletes)

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None],
        keys: Sequence[bytes | None],
        offsets: Int64s,
        stamps: Int64s,
    ) -> Decoded:
        """Decode a batch; `stamps` are Kafka's, in ms, -1 where there is none.

        A refusal, of stage "decode", has a code of `Decoder`, or `no_key`, `no_sequence`,
        `no_time`, `unknown_op` or `malformed`.
        """
        places = _sorted(values, headers)
        frames, rows = [], []
        refusals: list[Refusal] = []
        drifted: list[Drifted] = []
        if len(avro := places["avro"]):
            read = self._avro.decode([values[i] for i in avro], [headers[i] for i in avro])
            frame, good = read.in_order()
            frames.append(self._told(self._of_avro(frame)))
            rows.append(avro[good])
            refusals += _moved(read.refusals, avro)
            drifted += [each._replace(rows=avro[each.rows]) for each in read.drifted]
        if len(json := places["json"]):
            frame, good, bad = self._json.read([values[i] or b"" for i in json])
            frames.append(self._told(frame))
            rows.append(json[good])
            refusals += _moved(bad, json)
        if len(none := places["none"]):
            frames.append(self._stones(len(none)))
            rows.append(none)
        if not frames:
            return Decoded(pl.DataFrame(schema=self._columns), np.zeros(0, np.int64), refusals)
        at = np.concatenate(rows)
        found = [keys[i] for i in at.tolist()], offsets[at], stamps[at]
        frame, codes = self._complete(stacked(frames), *found)
        refusals += [
            Refusal(int(at[i]), "decode", codes[i], _WHY[codes[i]])
            for i in np.flatnonzero(codes != "").tolist()
        ]
        refusals.sort(key=lambda refusal: refusal.row)
        kept = np.flatnonzero(codes == "")
        if len(kept) < len(at):
            frame, at = taken(frame, kept), at[kept]
        return Decoded(frame, at, refusals, drifted)

    def _of_avro(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what Avro has read of the envelope as `JsonChanges` gives it."""
        if not self._enveloped:
            return frame
        row = pl.when(pl.col("op") == "d").then("before").otherwise("after")
        fields = [row.struct.field(name).alias(name) for name in self._fields]
        source = [pl.col("source").struct.field(n).alias(path) for path, n in SOURCE.items()]
        return frame.select(
            *fields,
            *source,
            pl.col("ts_ms").alias(SENT),
            pl.col("op").alias(OP),
            row.is_not_null().alias(THERE),
        )

    def _told(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows, with what stands around them, as changes, as far as that tells."""
        height = frame.height
        if self._enveloped:
            op, there = frame[OP].fill_null(""), frame[THERE]
            gone = op == "d"
        else:
            op = pl.Series([_OPS[0]]).new_from_index(0, height)
            there = pl.Series([True]).new_from_index(0, height)
            gone = ~there
            if self._deletes is not None and height:
                gone = select_rows(frame, [self._deletes]).to_series().fill_null(value=False)
        return frame.select(*(name for name in self._fields if name != EVENT_TIME)).hstack(
            [
                self._time(frame).alias(EVENT_TIME),
                _or_null(frame, self._changes.sequence).alias(SEQUENCE),
                gone.alias(DELETED),
                op.alias(OP),
                there.alias(THERE),
                pl.Series([False]).new_from_index(0, height).alias(_STONE),
            ]
        )[list(self._every)]

    def _time(self, frame: pl.DataFrame) -> pl.Series:
        own = EVENT_TIME if EVENT_TIME in self._fields else "source.ts_ms"
        at = frame[name] if (name := self._changes.time or own) in frame.columns else None
        if at is None:
            return pl.Series([None], dtype=TIME).new_from_index(0, frame.height)
        if at.dtype != TIME:
            return _of_millis(at)
        # No contract is held to a deletion, and what is no time of a calendar Delta cannot write.
        micros = at.to_physical()
        known = micros.is_between(0, _LATEST_MS * 1_000)
        return pl.select(pl.when(known).then(micros)).to_series().cast(TIME)

    def _stones(self, count: int) -> pl.DataFrame:
        """Return tombstones, of which nothing is known but that they delete."""
        told = {DELETED: True, OP: "d", THERE: False, _STONE: True}
        return pl.DataFrame(
            [
                pl.Series(name, [told.get(name)], kind).new_from_index(0, count)
                for name, kind in self._every.items()
            ]
        )

    def _complete(
        self,
        frame: pl.DataFrame,
        keys: Sequence[bytes | None],
        offsets: Int64s,
        stamps: Int64s,
    ) -> tuple[pl.DataFrame, npt.NDArray[np.object_]]:
        """Return changes with their keys, sequences and times, and a code for what lacks any.

        `keys`, `offsets` and `stamps` are those of their records.
        """
        by = self._changes.by
        if self._changes.sequence == OFFSET:
            frame = frame.with_columns(pl.Series(SEQUENCE, offsets))
        lacking = np.flatnonzero(_any_null(frame, by) & frame[DELETED].to_numpy())
        if len(lacking):
            found = self._keys.read([keys[i] for i in lacking.tolist()])
            places = pl.Series(lacking)
            frame = frame.with_columns(frame[n].scatter(places, found[n]) for n in by)
        of_kafka = _of_millis(pl.Series(stamps))
        frame = frame.with_columns(frame[EVENT_TIME].fill_null(of_kafka))
        codes = np.full(frame.height, "", object)
        # The first that holds is told.
        codes[frame[EVENT_TIME].is_null().to_numpy()] = "no_time"
        codes[(frame[SEQUENCE].is_null() & ~frame[_STONE]).to_numpy()] = "no_sequence"
        codes[_any_null(frame, by)] = "no_key"
        codes[(~frame[DELETED] & ~frame[THERE]).to_numpy()] = "malformed"
        codes[~frame[OP].is_in(_OPS).to_numpy()] = "unknown_op"
        # Of what was deleted nothing stays but its key.
        others = [n for n in self._fields if n not in (*by, EVENT_TIME)]
        there = ~pl.col(DELETED)
        bare = frame.with_columns(pl.when(there).then(pl.col(n)).alias(n) for n in others)
        return bare[list(self._columns)], codes


_WHY: Final[Mapping[str, str]] = {
    "no_key": f"The change says nowhere which row it is of: {WANTED}.",
    "no_sequence": "The change does not say where it stands among those of its row.",
    "no_time": "The change says no time, and Kafka has none of it.",
    "malformed": "The change of a row does not have the row.",
    "unknown_op": "The envelope's op is none of c, u, r and d.",
}


def _sorted(
    values: Sequence[bytes | None], headers: Sequence[Headers | None]
) -> dict[str, Int64s]:
    """Return which of the values are Avro, JSON, or none at all."""
    found: dict[str, list[int]] = {"avro": [], "json": [], "none": []}
    for row, (value, pairs) in enumerate(zip(values, headers, strict=True)):
        if value is None:
            found["none"].append(row)
        elif is_json(value) and not any(name == ID_HEADER for name, _ in pairs or ()):
            found["json"].append(row)
        else:
            found["avro"].append(row)
    return {name: np.array(rows, np.int64) for name, rows in found.items()}


def _or_null(frame: pl.DataFrame, name: str) -> pl.Series:
    """Return a column as whole numbers, all null if there is none of that name."""
    if name not in frame.columns:
        return pl.Series([None], dtype=pl.Int64()).new_from_index(0, frame.height)
    return frame[name].to_physical().cast(pl.Int64)


def _of_millis(values: pl.Series) -> pl.Series:
    """Return ms as times, null where they are none of a calendar."""
    known = values.is_between(0, _LATEST_MS)
    return pl.select(pl.when(known).then(values * 1_000)).to_series().cast(TIME)


def _any_null(frame: pl.DataFrame, names: Sequence[str]) -> Bools:
    return frame.select(pl.any_horizontal(pl.col(names).is_null())).to_series().to_numpy()


def _moved(refusals: Sequence[Refusal], places: Int64s) -> list[Refusal]:
    return [
        Refusal(int(places[r.row]), r.stage, r.code, r.message, r.schema_id) for r in refusals
    ]
