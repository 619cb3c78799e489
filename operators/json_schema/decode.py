"""Decode batches of JSON records: read one by one, checked by their schema, made columns."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Final, TypeAlias

import numpy as np
import polars as pl

from operators.avro.decode import Decoded
from operators.avro.framing import Headers
from operators.columns.arrays import Int64s
from operators.columns.frames import stacked
from operators.json_schema.parsing import Json, parse
from operators.json_schema.version import Version
from operators.json_schema.versions import Of, Refused, Versions
from operators.records.rejects import Refusal

CODES = (
    "null_value",
    "empty",
    "bad_utf8",
    "malformed",
    "not_an_object",
    "duplicate_name",
    "no_version",
    "unknown_version",
    "other_schema",
    "unknown_schema",
    "out_of_range",
)
"""The codes of refusals of stage decode; those of a schema's own keywords are of stage contract."""


# An object takes several times its bytes: of more of them at once each would be made in memory that
# the system has to hand out and to zero first, and that no cache has.
_AT_ONCE: Final = 4_000

Mine: TypeAlias = tuple[list[int], list[Json]]
"""The rows of some records of a batch, and the records."""


class JsonDecoder:
    """Decodes JSON records of any version of a schema; see `Decoder`, which does so with Avro.

    Columns are those of all versions: where two have one, it must be the same.
    """

    by_columns = False

    def __init__(self, versions: Versions, columns: Mapping[str, pl.DataType]) -> None:
        self.versions = versions
        self._empty = pl.DataFrame(schema=dict(columns))
        self._columns = dict(columns)

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None],
        column: pl.Series | None = None,
    ) -> Decoded:
        """Decode a batch: a value and its headers (or None) for each record.

        Refusals of stage decode have one of `CODES`; those of stage contract `schema_` and the
        keyword, such as schema_required. `column` is not looked at.
        """
        rows, bodies, told, refusals = self.versions.bodies(values, headers)
        frames: list[pl.DataFrame] = []
        places: list[Int64s] = []
        for first in range(0, len(rows), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            for frame, there in self._framed(rows[some], bodies[some], told, refusals):
                frames.append(frame)
                places.append(there)
        refusals.sort(key=lambda refusal: refusal.row)
        if not frames:
            return Decoded(self._empty, np.zeros(0, np.int64), refusals)
        return Decoded(stacked(frames), np.concatenate(places), refusals)

    def _framed(
        self,
        rows: Sequence[int],
        bodies: Sequence[bytes],
        told: Mapping[int, Of],
        refusals: list[Refusal],
    ) -> Iterator[tuple[pl.DataFrame, Int64s]]:
        """Yield frames of some of a batch's records, each with its rows; add to what is refused."""
        records, bad = parse(bodies)
        refusals += [
            Refusal(rows[at], "decode", code, why, told[rows[at]][1] if told else None)
            for at, code, why in bad
        ]
        for (version, said), mine in self._by_version(rows, records, told, refusals).items():
            kept, good = self._good(version, said, *mine, refusals)
            if not good:
                continue
            made = version.frame(good)
            there = np.array(kept, np.int64)
            refusals += [
                Refusal(
                    int(there[at]),
                    "decode",
                    "out_of_range",
                    f"{name}: no column of its type can hold the value",
                    said,
                )
                for at, name in made.unfit
            ]
            if made.frame.height:
                yield self._laid_out(made.frame), there[made.places]

    def _by_version(
        self,
        rows: Sequence[int],
        records: Sequence[Json | None],
        told: Mapping[int, Of],
        refusals: list[Refusal],
    ) -> dict[Of, Mine]:
        """Return the records by their version and its id."""
        there = [record is not None for record in records]
        rows = list(compress(rows, there))
        some = [record for record in records if record is not None]
        of = self.versions.of
        said: list[Of | Refused]
        said = [told[row] for row in rows] if told else list(map(of, some))
        # As it mostly is.
        if said and said.count(said[0]) == len(said) and not isinstance(said[0], Refused):
            return {said[0]: (rows, some)}
        found: dict[Of, Mine] = {}
        for row, record, each in zip(rows, some, said, strict=True):
            if isinstance(each, Refused):
                refusals.append(Refusal(row, "decode", each.code, each.message))
                continue
            its_rows, its_records = found.setdefault(each, ([], []))
            its_rows.append(row)
            its_records.append(record)
        return found

    @staticmethod
    def _good(
        version: Version,
        said: str | None,
        rows: list[int],
        records: list[Json],
        refusals: list[Refusal],
    ) -> Mine:
        """Return those that are of their version."""
        valid = list(map(version.validator.is_valid, records))
        if all(valid):
            return rows, records
        refusals += [
            Refusal(row, "contract", *version.refused(record), said)
            for row, record, good in zip(rows, records, valid, strict=True)
            if not good
        ]
        return list(compress(rows, valid)), list(compress(records, valid))

    def _laid_out(self, frame: pl.DataFrame) -> pl.DataFrame:
        there = set(frame.columns)
        return pl.DataFrame([
            frame[name] if name in there else pl.Series(name, [None], kind).new_from_index(
                0, frame.height
            )
            for name, kind in self._columns.items()
        ])  # fmt: skip
