"""Sealing: key, value and headers of records encrypted, each for the place that it has."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from operators.privacy.keys import Key, KeyRing
from operators.records.columns import KEY_ID, RAW_COLUMNS, RECORD
from operators.records.tables import COORDINATES

_Do = Callable[[bytes, Any], Any]
"""Maps what a value is and the value to what it becomes."""


def sealed(rows: pl.DataFrame, key: Key, columns: Sequence[str] = RECORD) -> pl.DataFrame:
    """Return rows, with `COORDINATES`, whose columns are encrypted, and with `KEY_ID`.

    What is encrypted is bound to its record and column: in another row it is not decrypted. Of
    headers it is the values, as of one of that name; a text is base64 then. Null stays null.
    """

    def text(about: bytes, value: str) -> str:
        return base64.b64encode(key.encrypt(about, value.encode())).decode()

    made = _each(rows, columns, key.encrypt, text)
    return made.with_columns(pl.lit(key.id, pl.String).alias(KEY_ID))


def opened(rows: pl.DataFrame, ring: KeyRing, columns: Sequence[str] = RECORD) -> pl.DataFrame:
    """Return rows with their columns as they were, whichever are encrypted; without `KEY_ID`.

    Raises NoKeyError.
    """
    if KEY_ID not in rows.columns:
        return rows
    ids = rows[KEY_ID]
    if ids.null_count() == rows.height:
        return rows.drop(KEY_ID)
    numbered = rows.with_row_index("_row").partition_by(KEY_ID)
    made = [_opened(each, ring, columns) for each in numbered]
    return pl.concat(made).sort("_row").drop("_row", KEY_ID)


def _opened(rows: pl.DataFrame, ring: KeyRing, columns: Sequence[str]) -> pl.DataFrame:
    id_ = rows[KEY_ID][0]
    if id_ is None:
        return rows
    key = ring.of(id_)

    def text(about: bytes, value: str) -> str:
        return key.decrypt(about, base64.b64decode(value)).decode()

    return _each(rows, columns, key.decrypt, text)


def _each(rows: pl.DataFrame, columns: Sequence[str], do: _Do, text: _Do) -> pl.DataFrame:
    """Return rows with each value of the columns as `do` or, of texts, `text` makes it."""
    places = rows.select(*COORDINATES).iter_rows()
    abouts = [f"{topic}/{partition}/{offset}/" for topic, partition, offset in places]
    made = []
    for name in columns:
        column = rows[name]
        if column.null_count() == rows.height:
            continue
        values: list[Any] = column.to_list()
        for row, (about, value) in enumerate(zip(abouts, values, strict=True)):
            if value is None:
                continue
            if name == "headers":
                values[row] = _headers(f"{about}header", value, do)
            else:
                how = text if column.dtype == pl.String else do
                values[row] = how(f"{about}{name}".encode(), value)
        kind = RAW_COLUMNS["headers"] if name == "headers" else column.dtype
        made.append(pl.Series(name, values, kind))
    return rows.with_columns(made)


def _headers(about: str, headers: list[dict[str, Any]], do: _Do) -> list[dict[str, Any]]:
    return [
        {
            "key": each["key"],
            "value": None
            if each["value"] is None
            else do(f"{about} {number} {each['key']}".encode(), each["value"]),
        }
        for number, each in enumerate(headers)
    ]
