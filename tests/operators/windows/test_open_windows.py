"""What the model does not show: bounds of state, versions, types, and what is refused."""

import pickle
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from operators.columns import ipc
from operators.columns.hashing import hash_columns
from operators.records.batches import END_OF_INPUT, Progress
from operators.records.tables import TIME
from operators.windows import (
    Aggregate,
    InexactError,
    OpenWindows,
    Windows,
    agg,
    as_times,
    intake,
    micros,
    newest,
    session,
    sliding,
    spec,
    tumbling,
)  # fmt: skip
from operators.windows.intake import Intake
from tests.operators.columns.held import held
from tests.operators.windows.model import Record, frame

COUNTS = {"payments": agg.count(), "total": agg.sum("amount")}
WINDOWS = Windows(("key",), tumbling(60), COUNTS)


def at(offset: int, watermark: int) -> list[Progress]:
    return [Progress("t", 0, 1, offset, watermark)]


def feed(opened: OpenWindows, windows: Windows, records: list[Record], watermark: int):
    return opened.advance(at(records[-1].offset, watermark), windows.judge(frame(records)).rows)


def test_a_window_that_closes_at_the_epoch_itself_closes():
    opened = OpenWindows(WINDOWS)
    for offset, time in enumerate((-1, 70)):
        assert feed(opened, WINDOWS, [Record(0, offset, "a", time)], -50).panes is None
    assert opened.advance(at(2, 0), None).panes.height == 1


def test_the_revisions_of_a_session_are_those_of_the_example_in_session_revisions():
    windows = Windows(("key",), session(10, step=1), {"n": agg.count()}, lateness=30)
    opened, before, offset = OpenWindows(windows), None, 0
    shown = ["window_start", "window_end", "revision", "n"]
    for times, watermark, panes in (
        ((0, 4), 4, []),
        ((29,), 20, [(0, 14, 0, 2)]),
        ((11,), 31, [(0, 21, 1, 3)]),
        ((20,), 45, [(0, 39, 2, 5)]),
    ):
        records = [
            Record(0, offset + n, "a", time, mark=before) for n, time in enumerate(times)
        ]
        found = feed(opened, windows, records, watermark).panes
        physical = pl.col("window_start", "window_end").to_physical()
        assert panes == ([] if found is None else found.with_columns(physical)[shown].rows())
        before, offset = watermark, offset + len(times)


@pytest.mark.parametrize("time", [-61, -60, -1, 0, 59, 60, 1_700_000_000_000_000])
def test_windows_are_aligned_to_the_epoch_also_before_it(time):
    opened = OpenWindows(WINDOWS)
    panes = feed(opened, WINDOWS, [Record(0, 0, "a", time)], time + 60).panes
    assert panes["window_start"].to_physical().to_list() == [time // 60 * 60]
    assert panes["window_start"].dtype == panes["window_end"].dtype == TIME


@pytest.mark.parametrize(
    "windows",
    [
        replace(WINDOWS, lateness=1_000_000),
        replace(WINDOWS, window=sliding(600_000, every=60_000)),
        replace(WINDOWS, window=session(100_000)),
        replace(WINDOWS, window=session(100_000), lateness=100_000),
    ],
)
def test_state_is_bounded_by_the_live_keys_and_windows(windows):
    opened = OpenWindows(windows)
    for offset in range(0, 600_000, 10_000):
        records = pl.DataFrame(
            {
                "source_partition": pl.zeros(10_000, pl.Int32, eager=True),
                "source_offset": range(offset, offset + 10_000),
                "key": [f"k{n % 50}" for n in range(10_000)],
                "event_time": [offset % 60 + n % 7 for n in range(10_000)],
                "amount": pl.ones(10_000, pl.Int64, eager=True),
                "watermark": pl.Series([None] * 10_000, dtype=TIME),
            }
        ).with_columns(pl.col("event_time").cast(TIME))
        opened.advance(at(offset, 0), windows.judge(records).rows)
        opened = OpenWindows.load(windows, opened.dump())
    live = 50 * 2
    assert opened.rows <= live + 131_072
    closed = opened.advance(at(600_000, END_OF_INPUT), None).panes
    assert (
        newest(closed, windows)
        .filter(pl.col("window_start") <= pl.lit(0).cast(TIME))["payments"]
        .sum()
        % 600_000
        == 0
    )
    assert opened.rows == 0


def test_a_snapshot_holds_what_changed():
    windows = replace(WINDOWS, window=sliding("1h", every="5m"))
    opened = OpenWindows(windows)
    many = [Record(0, n, f"key-{n}", 0) for n in range(140_000)]
    feed(opened, windows, many, -1)
    first = opened.dump()
    whole = len(pickle.dumps(first["slots"]))
    feed(opened, windows, [Record(0, 140_000, "one more", 0)], -1)
    second = opened.dump()
    assert len(pickle.dumps(second["intake"])) < whole / 100
    assert second["slots"][0]["partials"] == first["slots"][0]["partials"]


def test_a_state_of_another_version_is_refused():
    state = OpenWindows(WINDOWS).dump()
    state["intake"]["version"] = 99
    with pytest.raises(ValueError, match="state version 99"):
        OpenWindows.load(WINDOWS, state)
    sessions = replace(WINDOWS, window=session(10))
    for windows in (WINDOWS, sessions, replace(sessions, lateness=5)):
        opened = OpenWindows(windows)
        feed(opened, windows, [Record(0, n, "a", 3) for n in range(5)], 5)
        feed(opened, windows, [Record(0, n, "a", 130) for n in range(5)], 129)
        state = opened.dump()
        for slot in state["slots"].values():
            slot["version"] = 98
        with pytest.raises(ValueError, match="state version 98"):
            OpenWindows.load(windows, state)


def test_sums_that_depend_on_order_are_refused():
    for aggregate in (agg.sum("amount"), agg.mean("amount"), agg.stddev("amount")):
        windows = replace(WINDOWS, aggregates={"x": aggregate})
        rows = windows.judge(frame([Record(0, 0, "a", 1)])).rows.cast({"amount": pl.Float64})
        with pytest.raises(InexactError, match="minor unit"):
            OpenWindows(windows).advance(at(0, 60), rows)


def test_decimals_are_summed_exactly_and_keep_their_scale():
    windows = replace(WINDOWS, aggregates={"x": agg.sum("amount"), "m": agg.mean("amount")})
    records = [Record(0, n, "a", 1, amount=n) for n in range(3)]
    opened = OpenWindows(windows)
    rows = windows.judge(frame(records)).rows.with_columns(
        (pl.col("amount").cast(pl.Decimal(20, 2)) / 10).cast(pl.Decimal(20, 2))
    )
    opened.advance(at(0, 0), rows)
    opened = OpenWindows.load(windows, opened.dump())
    panes = opened.advance(at(1, 60), None).panes
    assert panes["x"].to_list() == [Decimal("0.30")]
    assert panes["m"].to_list() == [pytest.approx(0.1)]


def test_a_sum_beyond_int64_is_null():
    panes = feed(
        OpenWindows(WINDOWS),
        WINDOWS,
        [Record(0, n, "a", 1, amount=2**62) for n in range(2)],
        60,
    ).panes
    assert panes["total"].to_list() == [None]


@pytest.mark.parametrize("lateness", [0, 5])
def test_keys_that_share_a_hash_have_sessions_of_their_own(lateness, monkeypatch):
    monkeypatch.setattr(spec, "hash_columns", lambda f, by: hash_columns(f, by) & 0)
    windows = replace(WINDOWS, window=session(10, step=5), lateness=lateness)
    records = [Record(0, n, "ab"[n % 2], 4 * n) for n in range(6)]
    panes = feed(OpenWindows(windows), windows, records, 100).panes
    assert sorted(panes.select("key", "payments").rows()) == [("a", 3), ("b", 3)]


def test_only_what_the_aggregates_need_is_kept():
    assert WINDOWS.inputs == ["key", "amount"]
    assert replace(WINDOWS, window=session(5)).inputs == ["key", "amount", "event_time"]
    assert replace(WINDOWS, aggregates={"f": agg.first("amount")}).inputs == [
        "key", "amount", "event_time", "source_partition", "source_offset"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [("250ms", 250_000), ("5m", 300_000_000), ("7d", 604_800_000_000)]
)
def test_durations(text, expected):
    assert micros(text) == expected
    assert micros(timedelta(microseconds=expected)) == micros(expected) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: micros("5 minutes"),
        lambda: tumbling(0),
        lambda: sliding("5m", every="10m"),
        lambda: session("1m", step="2m"),
        lambda: Windows((), tumbling(1), COUNTS),
        lambda: replace(WINDOWS, lateness=-1),
        lambda: replace(WINDOWS, window=session(60, step=5), early=7),
        lambda: replace(WINDOWS, window=session(5), lateness=5, revisions=2),
        lambda: Aggregate("count", "x"),
        lambda: Aggregate("sum"),
        lambda: agg.quantile("x", 0),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match=r".+"):
        make()


def test_as_times():
    rows = pl.DataFrame({"window_start": [0], "window_end": [60]})
    assert as_times(rows).schema == {"window_start": TIME, "window_end": TIME}


def test_key_groups_hand_on_in_epochs_of_their_own(monkeypatch):
    """All of them get as many records in each epoch, and none is due."""
    monkeypatch.setattr(intake, "_HELD_MIN", 8)
    windows = Windows(("key",), session("30m"), COUNTS)
    groups = [Intake(windows) for _ in range(16)]
    handed: list[int] = []
    for epoch in range(60):
        records = [Record(0, 20 * epoch + n, f"{n}", epoch) for n in range(20)]
        rows = windows.judge(frame(records)).rows
        work = 0
        for number, each in enumerate(groups):
            each.group = number
            work += bool(each.advance([], rows)[0])
            each.dump()
        handed.append(work)
    settled = handed[20:]
    assert 16 * 4 < sum(settled) < 16 * 20
    assert max(settled) < 10


@pytest.mark.parametrize(
    "window", [tumbling(10**6), sliding(10**6, every=10**5), session(100, step=10)]
)
def test_what_is_kept_holds_no_texts_of_records_that_are_gone(window):
    aggregates = {"n": agg.count(), "first": agg.first("card"), "cards": agg.distinct("card")}
    windows = Windows(("key",), window, aggregates)
    opened, long = OpenWindows(windows), "a text of more than twelve bytes"
    for batch in range(200):
        # One key that stays, and many records of one that always comes.
        keys = [f"{long} {batch}", *[f"{long} always"] * 99]
        records = [
            Record(0, 100 * batch + n, key, batch, card=f"{long}, {n}")
            for n, key in enumerate(keys)
        ]
        feed(opened, windows, records, batch)
        opened.dump()
    assert held(opened) < 200 * opened.rows


@pytest.mark.parametrize("lateness", [0, 50])
def test_open_sessions_that_nothing_has_touched_are_not_written_again(monkeypatch, lateness):
    windows = Windows(("key",), session(100, step=10), {"n": agg.count()}, lateness=lateness)
    opened = OpenWindows(windows)
    for offset in range(9):
        record = Record(0, offset, f"{offset}", 60 * (offset > 0) + offset)
        feed(opened, windows, [record], record.time)
    # One closes, so the others have been looked at.
    assert opened.advance(at(9, 115), None).panes.height == 1
    dumped = opened.dump()
    assert opened.rows >= 8
    written: list[int] = []
    stream = ipc._stream
    monkeypatch.setattr(
        ipc, "_stream", lambda rows: written.append(rows.height) or stream(rows)
    )
    assert opened.dump() == dumped
    assert written == []
