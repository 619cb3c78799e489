"""Keys of records, where they alone say which row a change is of."""

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

import orjson
import polars as pl

from operators.avro import Decoder, Lookup
from operators.changes.json_records import is_json, payload_of
from operators.changes.values import Objects
from schemas import AvroSchema

WANTED: Final = "a key is a JSON object, an Avro record Key, or, of one field, its text"

_WHOLE: Final = re.compile("-?[0-9]{1,19}")


class Keys:
    """Reads keys of the fields `by`."""

    def __init__(
        self, by: Sequence[str], schema: AvroSchema, objects: Objects, lookup: Lookup
    ) -> None:
        fields = [field for field in schema["fields"] if field["name"] in by]
        self._by, self._objects = tuple(by), objects
        self._types = {name: objects.dtypes[name] for name in by}
        self._avro = Decoder({"type": "record", "name": "Key", "fields": fields}, lookup)

    def read(self, keys: Sequence[bytes | None]) -> pl.DataFrame:
        """Return a row of the fields `by` for each key; what it does not say is null."""
        found = [self._object(key) for key in keys]
        framed = [i for i, key in enumerate(keys) if found[i] is None and key]
        if framed:
            read = self._avro.decode([keys[i] for i in framed], [None] * len(framed))
            for at, row in zip(read.rows.tolist(), read.frame.to_dicts(), strict=True):
                found[framed[at]] = row
        self._texts(keys, found)
        # Stated, so that no field's default is taken for a key.
        nothing = dict.fromkeys(self._by)
        return self._objects.read([each or nothing for each in found])[0].select(self._by)

    def _object(self, key: bytes | None) -> dict[str, Any] | None:
        if key is None or not is_json(key):
            return None
        try:
            found = payload_of(orjson.loads(key))
        except orjson.JSONDecodeError:
            return None
        return {n: found.get(n) for n in self._by} if isinstance(found, dict) else None

    def _texts(self, keys: Sequence[bytes | None], found: list[dict[str, Any] | None]) -> None:
        if len(self._by) > 1:
            return
        (name,) = self._by
        whole = self._types[name].is_integer()
        for row, key in enumerate(keys):
            if found[row] is None and key and key[0] > 1:
                # Also as JSON, in quotes.
                with contextlib.suppress(ValueError):
                    text = orjson.loads(key) if key[:1] == b'"' else key.decode()
                    if not whole:
                        found[row] = {name: text}
                    elif _WHOLE.fullmatch(text):
                        found[row] = {name: int(text)}
