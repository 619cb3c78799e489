"""Definitions: what a table's rows are made by, and from where on, told in its properties.

The property is JSON: by a definition's name, such as `rule velocity`, its texts, the oldest first.
Each but those that count from the table's beginning has what the tables of the flow accounted for
when it came: rows at or before that are of the text before it, or of none.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deltalake import DeltaTable

from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK

PROPERTY: Final = "millstream.definitions"


@dataclass(frozen=True)
class Told:
    """A text, None for none, and what the tables accounted for before it counted.

    `offsets` are the last ones by topic and partition, inclusive, and `written` those of the table
    itself; `watermark` is in µs.
    """

    text: str | None
    offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)
    watermark: int = NO_WATERMARK
    written: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def of(self, topic: str) -> dict[int, int]:
        """Return the last offsets of a topic's partitions before it counted."""
        return {p: offset for (name, p), offset in self.offsets.items() if name == topic}

    def written_of(self, topic: str) -> dict[int, int]:
        """Return those that the table itself accounted for."""
        return {p: offset for (name, p), offset in self.written.items() if name == topic}


History = dict[str, list[Told]]
"""What has been told by each name, the oldest first."""


def history(handle: DeltaTable) -> History | None:
    """Return what a table tells, None if it does not: earlier releases' tables do not."""
    text = handle.metadata().configuration.get(PROPERTY)
    if text is None:
        return None
    return {name: [_read(each) for each in told] for name, told in json.loads(text).items()}


def _read(told: Mapping[str, Any]) -> Told:
    def offsets(name: str) -> dict[tuple[str, int], int]:
        places = [
            (place.rpartition("/"), offset) for place, offset in told.get(name, {}).items()
        ]
        return {(topic, int(part)): offset for (topic, _, part), offset in places}

    watermark = told.get("watermark", NO_WATERMARK)
    return Told(told["is"], offsets("offsets"), watermark, offsets("written"))


def text_of(found: Mapping[str, Iterable[Told]]) -> str:
    """Return the property's value."""
    return json.dumps({name: [_written(each) for each in told] for name, told in found.items()})


def _written(told: Told) -> dict[str, Any]:
    found: dict[str, Any] = {"is": told.text}
    for name, offsets in (("offsets", told.offsets), ("written", told.written)):
        if offsets:
            found[name] = {f"{t}/{p}": offset for (t, p), offset in offsets.items()}
    if told.watermark != NO_WATERMARK:
        found["watermark"] = told.watermark
    return found


def begun(now: Mapping[str, str]) -> History:
    """Return what a table tells whose rows are all of today's definitions."""
    return {name: [Told(text)] for name, text in now.items()}


def gone_on(
    there: History | None,
    now: Mapping[str, str],
    reached: Callable[[], Frontier],
    new: Iterable[str] = (),
    written: Frontier | None = None,
) -> History | None:
    """Return what a table is to tell that has told something; None if that is the same.

    `reached` is what the flow's tables account for, `written` what this one does. A table that has
    told nothing yet was made by what is defined today, as far as anybody knows; but for what has a
    column that is `new`.
    """
    found = {name: list(told) for name, told in (there or {}).items()}
    if there is None:
        added = set(new)
        found = begun({name: text for name, text in now.items() if name not in added})
    today: dict[str, str | None] = {name: None for name in found if name not in now}
    for name, text in (today | dict(now)).items():
        if name in found and found[name][-1].text == text:
            continue
        at = reached()
        own = {} if written is None else written.offsets
        found.setdefault(name, []).append(Told(text, at.offsets, at.watermark, own))
    return None if found == there else found
