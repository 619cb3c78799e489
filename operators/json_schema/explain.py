"""Explain JSON values as `Explainer` does Avro's: as far as they are records, and where not."""

from collections.abc import Sequence

import orjson

from operators.avro.explain import ID, MAGIC, Explained
from operators.avro.framing import Headers
from operators.avro.walk import Broken, Part
from operators.json_schema.parsing import parse
from operators.json_schema.versions import Versions


class JsonExplainer:
    """Explains JSON values by the version that each is of.

    A value that is JSON is whole, whatever its schema says of it: why it was refused tells that.
    """

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    def explain(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> list[Explained]:
        """Explain each value with its record's headers."""
        return [self._one(*each) for each in zip(values, headers, strict=True)]

    def _one(self, value: bytes | None, headers: Headers | None) -> Explained:
        found = self._versions.bodies([value], [headers])
        if found.refused:
            why = found.refused[0]
            broken = Broken(0, why.message.removesuffix("."), "a record of a version of here")
            # Without its version it may be JSON all the same.
            record = None if value is None else parse([value])[0][0]
            return Explained(record=record, broken=None if record else broken, json_head=b"")
        (body,), whole = found.values, value or b""
        head = whole[: len(whole) - len(body)]
        parts = []
        if head:
            said = found.told[0][1] or ""
            parts = [
                Part(0, 1, MAGIC, "1 byte", head[0]),
                Part(1, len(head), ID, f"{len(head) - 1} bytes", said),
            ]
        (record,), bad = parse([body])
        if record is None:
            at = len(head) + _place(body)
            broken = Broken(at, bad[0][2].removesuffix("."), "a JSON object")
            return Explained(parts, None, broken, json_head=head)
        parts.append(Part(len(head), len(whole), "the record", "JSON", record))
        return Explained(parts, record, None, json_head=head)


def _place(body: bytes) -> int:
    """Return the byte at which a body stops being JSON, 0 where it is."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            return len(body.decode()[: error.pos].encode())
        except UnicodeDecodeError as bad:
            return bad.start
    return 0
