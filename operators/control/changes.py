"""Changes: what the records of a control topic say, and from when to when each holds."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import orjson
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from operators.rules.lists import LIST_NAME
from operators.rules.rule import Rule

Kind = Literal["rule", "entry", "threshold"]

DELAY: Final = 5_000_000
"""How long after its record's Kafka time a change holds at the earliest, in µs.

It is not to be changed: what was judged before would be judged otherwise by a replay.
"""

SLACK: Final = DELAY // 2
"""How much of that is for readers to be behind, in µs; the rest is for clocks that differ."""

ALWAYS: Final = 2**62
"""When what nothing has ended yet ends, in µs."""

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)


class ChangeError(ValueError):
    """A record of the control topic says nothing that can hold; the message says why."""


class Entry(BaseModel):
    """A value of a column on a list, until it expires.

    An `allow` gives way to a block, unless it is marked with `overrides`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    list: str = Field(pattern=LIST_NAME)
    kind: Literal["block", "allow", "watch"]
    column: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    value: str = Field(min_length=1, max_length=256)
    owner: str = Field(min_length=1, max_length=100)
    reason: str = Field(min_length=1, max_length=1000)
    expires: AwareDatetime
    overrides: bool = False

    @model_validator(mode="after")
    def _only_allows(self) -> "Entry":
        if self.overrides and self.kind != "allow":
            raise ValueError("overrides: only what allows can override a block")
        return self

    @property
    def item(self) -> str:
        """What silver's `listed` has of it."""
        return f"{self.kind}{'!' if self.overrides else ''}:{self.list}:{self.column}"

    @property
    def name(self) -> str:
        """What it is called among all entries: a later one of this name takes its place."""
        return f"{self.list}/{self.column}/{self.value}"


Content = Rule | Entry | float | None


@dataclass(frozen=True)
class Change:
    """What holds of a rule, an entry or a threshold from a time on, in µs; None for nothing.

    Of a rule that is the one of the flow's folder. `time` is the record's Kafka time, in µs.
    """

    offset: int
    time: int
    begins: int
    kind: Kind
    name: str
    who: str
    why: str
    content: Content
    value: bytes = b""

    @property
    def key(self) -> str:
        """The record's key: the topic keeps the last one of each."""
        return f"{self.kind}/{self.name}"

    @property
    def version(self) -> int | None:
        """That of a rule."""
        return self.content.version if isinstance(self.content, Rule) else None


class _Stated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    kind: Kind
    name: str = Field(min_length=1, max_length=600)
    who: str = Field(min_length=1, max_length=100)
    why: str = Field(min_length=1, max_length=1000)
    begins: AwareDatetime | None = None
    content: Any = Field(None, alias="is")


def micros_of(time: datetime) -> int:
    """Return a time in µs."""
    return (time - _EPOCH) // _MICROSECOND


def written(
    kind: Kind, name: str, content: Content, who: str, why: str, begins: datetime | None = None
) -> tuple[bytes, bytes]:
    """Return the key and the value of a change's record; raises ChangeError."""
    stated: Any = content
    if isinstance(content, Rule):
        stated = content.model_dump(mode="json", exclude_defaults=True)
    elif isinstance(content, Entry):
        stated = content.model_dump(mode="json")
    told = {"kind": kind, "name": name, "who": who, "why": why, "is": stated}
    if begins is not None:
        told["begins"] = begins.isoformat()
    key, value = f"{kind}/{name}".encode(), orjson.dumps(told)
    read_change(0, 0, key, value)
    return key, value


def read_change(offset: int, time: int, key: bytes | None, value: bytes | None) -> Change:
    """Return what a record says; raises ChangeError.

    `time` is Kafka's, in µs. A record without a value ends what its key names.
    """
    named = (key or b"").decode("utf-8", "replace")
    if value is None:
        kind, _, name = named.partition("/")
        value = json.dumps({"kind": kind, "name": name, "who": "?", "why": "deleted"}).encode()
    try:
        stated = _Stated.model_validate(orjson.loads(value))
        content = _content(stated)
    except orjson.JSONDecodeError:
        raise ChangeError("its value is no JSON") from None
    except ValidationError as error:
        raise ChangeError("; ".join(map(_said, error.errors()))) from None
    if named != f"{stated.kind}/{stated.name}":
        raise ChangeError(f"its key is not {stated.kind}/{stated.name}")
    begins = time + DELAY
    if stated.begins is not None:
        begins = max(begins, micros_of(stated.begins))
    return Change(
        offset, time, begins, stated.kind, stated.name, stated.who, stated.why, content, value
    )


def _said(error: Mapping[str, Any]) -> str:
    place = ".".join(map(str, error["loc"]))
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


def _content(stated: _Stated) -> Content:
    """Return what is stated; raises ValidationError and ChangeError."""
    if stated.content is None:
        return None
    if stated.kind == "threshold":
        value = stated.content
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ChangeError("a threshold is a number")
        return float(value)
    found: Rule | Entry
    if stated.kind == "rule":
        found = Rule.model_validate(stated.content)
        name = found.id
    else:
        found = Entry.model_validate(stated.content)
        name = found.name
    if name != stated.name:
        raise ChangeError(f"it is of {name}, and called {stated.name}")
    return found


@dataclass(frozen=True)
class Span:
    """From when to when a change holds, in µs: until a later one of its key begins."""

    change: Change
    begins: int
    ends: int


def spans(changes: Iterable[Change]) -> Iterator[Span]:
    """Yield the changes that ever hold, given in their topic's order, each key's together.

    A later record wins from its begin on, also over one before it that was to begin later: so
    the topic's last record of a key, which compaction keeps, is what holds in the end.
    """
    by_key: dict[str, list[Change]] = {}
    for change in changes:
        by_key.setdefault(change.key, []).append(change)
    for mine in by_key.values():
        ends, found = ALWAYS, []
        for change in reversed(mine):
            if change.begins < ends:
                found.append(Span(change, change.begins, ends))
                ends = change.begins
        yield from reversed(found)
