"""Rules, lists and thresholds by time, held to a model that looks at one event after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from operators.control.book import Book
from operators.control.changes import DELAY, Change, Entry, read_change, written
from operators.control.state import State
from operators.records.tables import COORDINATES, TIME
from operators.rules.rule import Rule
from tests.operators.rules.samples import rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
LISTS = ("card_id", "country")
COLUMNS: dict[str, Any] = {
    **COORDINATES,
    "kafka_timestamp": TIME,
    "payment_id": pl.String(),
    "event_time": TIME,
    "card_id": pl.String(),
    "country": pl.String(),
    "amount_minor": pl.Int64(),
    "listed": pl.String(),
}

Event = dict[str, Any]
Condition = Callable[[Event], bool]

CONDITIONS: dict[str, Condition] = {
    "amount_minor > 5": lambda e: e["amount_minor"] > 5,
    "card_id IN LIST 'one'": lambda e: among(e, "one", "card_id"),
    "country not in list 'one' AND amount_minor > 2": lambda e: (
        not among(e, "one", "country") and e["amount_minor"] > 2
    ),
    "card_id IN LIST 'on'": lambda e: among(e, "on", "card_id"),
}


def among(event: Event, name: str, column: str) -> bool:
    return any(item.split(":")[1:] == [name, column] for item in event["listed"].split())


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def stated(name: str, version: int, when: str, status: str) -> Rule:
    return rule(id=name, version=version, when=when, status=status, reason="?", score="1")


BASE = [
    stated("a", 1, "amount_minor > 5", "live"),
    stated("b", 1, "card_id IN LIST 'one'", "shadow"),
]

rules = st.builds(
    stated,
    st.sampled_from("abc"),
    st.integers(1, 3),
    st.sampled_from(list(CONDITIONS)),
    st.sampled_from(["live", "shadow", "paused"]),
).map(lambda each: ("rule", each.id, each))


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, str, Entry]:
    kind = draw(st.sampled_from(["block", "allow", "watch"]))
    entry = Entry(
        list=draw(st.sampled_from(["on", "one"])),
        kind=kind,
        column=draw(st.sampled_from(LISTS)),
        value=draw(st.sampled_from(["x", "y", "é/z"])),
        owner="o",
        reason="r",
        expires=at(draw(st.integers(4, 14))),
        overrides=kind == "allow" and draw(st.booleans()),
    )
    return "entry", entry.name, entry


thresholds = st.tuples(
    st.just("threshold"), st.sampled_from("tu"), st.integers(0, 9).map(float)
)


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    found: list[Change] = []
    offset = 0
    for _ in range(draw(st.integers(0, 12))):
        kind, name, content = draw(st.one_of(rules, entries(), thresholds))
        if draw(st.integers(0, 4)) == 0:
            content = None
        begins = draw(st.none() | st.integers(4, 13).map(at))
        key, value = written(kind, name, content, "who", "why", begins)
        # Compaction leaves gaps, and clocks that send may go back.
        offset += draw(st.integers(1, 3))
        found.append(read_change(offset, draw(st.integers(0, 8)) * SECOND, key, value))
    return found


@dataclass
class Model:
    """What holds of all changes for one event after the other."""

    changes: list[Change]

    def held(self, time: int, kind: str) -> dict[str, Any]:
        """Return what each name stands for: the last record that has begun by then."""
        found = {}
        for change in self.changes:
            if change.kind == kind and change.begins <= time:
                found[change.name] = change.content
        return {name: content for name, content in found.items() if content is not None}

    def newest(self, time: int, kind: str) -> int | None:
        """Return the offset of what last came to hold by then, of all names."""
        last: tuple[int, int] | None = None
        for change in self.changes:
            begun = change.kind == kind and change.begins <= time
            later = [
                each
                for each in self.changes
                if each.key == change.key
                and each.offset > change.offset
                and each.begins <= change.begins
            ]
            if begun and not later:
                last = max(last or (0, 0), (change.begins, change.offset))
        return last and last[1]

    def listed(self, event: Event, time: int) -> str:
        items = set()
        for entry in self.held(time, "entry").values():
            mine = event[entry.column] == entry.value
            if mine and at(time / SECOND) < entry.expires:
                mark = "!" if entry.overrides else ""
                items.add(f"{entry.kind}{mark}:{entry.list}:{entry.column}")
        return " ".join(sorted(items))

    def alerts(self, event: Event, time: int) -> list[tuple[Any, ...]]:
        held = {each.id: each for each in BASE} | self.held(time, "rule")
        return [
            (event["source_offset"], each.id, each.version, each.status)
            for each in sorted(held.values(), key=lambda each: each.id)
            if each.status != "paused" and CONDITIONS[each.when](event)
        ]


values = st.none() | st.sampled_from(["x", "y", "é/z", "w"])
events = st.lists(st.tuples(st.integers(3, 15), values, values, st.integers(0, 9)), max_size=12)


def framed(found: list[tuple[int, Any, Any, int]]) -> pl.DataFrame:
    rows = [
        {
            "source_topic": "t", "source_partition": 0, "source_offset": place,
            "kafka_timestamp": at(time), "payment_id": f"p{place}", "event_time": at(0),
            "card_id": card, "country": country, "amount_minor": amount,
        }
        for place, (time, card, country, amount) in enumerate(found)
    ]  # fmt: skip
    columns = {name: kind for name, kind in COLUMNS.items() if name != "listed"}
    return pl.DataFrame(rows, schema=columns)


@given(changes(), events, st.data())
def test_what_holds_for_an_event_depends_neither_on_batches_nor_on_what_is_known_beyond_it(
    known: list[Change], found: list[tuple[int, Any, Any, int]], data: st.DataObject
) -> None:
    model = Model(known)
    frame = framed(found)
    lists, alerts = [], []
    state = State()
    book = Book(BASE, lambda: state, COLUMNS, "payment_id", "card_id")
    first = 0
    while first < frame.height:
        batch = frame[first : first + data.draw(st.integers(1, 5))]
        first += batch.height
        # All that holds by then, and as much more as is there already.
        latest = max(time for time, *_ in found[first - batch.height : first]) * SECOND
        needed = max(
            (i + 1 for i, c in enumerate(known) if c.time + DELAY <= latest), default=0
        )
        read = data.draw(st.integers(max(needed, len(state.changes)), len(known)))
        state = state.with_changes(known[len(state.changes) : read])
        batch = batch.hstack([state.listed(batch, LISTS)])
        lists += batch["listed"].to_list()
        verdict = book.evaluate(batch)
        assert not verdict.failures
        alerts += verdict.alerts.select(
            "source_offset", "rule_id", "rule_version", "rule_status"
        ).rows()
        for name in "tu":
            got = state.threshold(name, batch["kafka_timestamp"], -1.0).to_list()
            times = batch["kafka_timestamp"].to_physical().to_list()
            assert got == [model.held(time, "threshold").get(name, -1.0) for time in times]
        for kind in ("entry", "threshold"):
            got = state.newest(kind, batch["kafka_timestamp"].to_physical().to_numpy())
            assert got.to_list() == [model.newest(time, kind) for time in times]
    expected, expected_lists = [], []
    for event in frame.iter_rows(named=True):
        time = (event["kafka_timestamp"] - EPOCH) // timedelta(microseconds=1)
        event["listed"] = model.listed(event, time)
        expected_lists.append(event["listed"])
        expected += model.alerts(event, time)
    assert lists == expected_lists
    assert alerts == expected

    changed = state.changed(
        pl.Series(["a"] * frame.height, dtype=pl.String),
        frame["kafka_timestamp"].to_physical().to_numpy(),
    )
    times = frame["kafka_timestamp"].to_physical().to_list()
    assert [*changed] == ["a" in Model([*state.changes]).held(time, "rule") for time in times]
    of_all = State(known)
    # What compaction leaves is what holds in the end.
    last = {change.key: change for change in known}
    compacted = State(change for change in known if last[change.key] is change)
    ended = [
        {name: each.change for name, each in state.rules_at(10**12).items()}
        for state in (of_all, compacted)
    ]
    assert ended[0] == ended[1]


@given(changes(), st.integers(3, 15), st.integers(3, 15))
def test_what_is_decided_by_the_same_change_is_decided_by_the_same_lists_and_thresholds(
    known: list[Change], one: int, other: int
) -> None:
    state, model = State(known), Model(known)
    for kind in ("entry", "threshold"):
        first, second = state.newest(kind, np.array([one, other]) * SECOND).to_list()
        if first == second:
            assert model.held(one * SECOND, kind) == model.held(other * SECOND, kind)


def test_a_change_holds_from_its_very_time_on_also_within_a_batch() -> None:
    known = read_change(0, 4 * SECOND, *written("rule", "a", None, "who", "why"))
    other = stated("a", 2, "amount_minor > 5", "live")
    changed = read_change(1, 4 * SECOND, *written("rule", "a", other, "who", "why"))
    frame = framed([(9, None, None, 9)] * 3).with_columns(
        kafka_timestamp=pl.Series([at(9) - timedelta(milliseconds=1), at(9), None], dtype=TIME),
        listed=pl.lit(""),
    )
    state = State([known, changed])
    book = Book(BASE, lambda: state, COLUMNS, "payment_id", "card_id")
    # What has no time of Kafka's is older than every change.
    assert book.evaluate(frame).alerts["rule_version"].to_list() == [1, 2, 1]
    assert [each.version for each in book.at(9 * SECOND).rules] == [2, 1]
    assert [each.version for each in book.at(9 * SECOND - 1).rules] == [1, 1]
